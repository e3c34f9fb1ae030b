"""Weights whose guard lets a prior's log-deviations rise no higher than a bound.

    python experiments/shipped_weights/cap_noise.py WEIGHTS LOG_STD -o OUT.npz

What draws at a temperature is that deviation times noise. On photographs it is mostly below 1; on
noise and hard edges it reaches e³, where samples leave the range of pictures. The map stays an
exact bijection with the log-determinant that it reports: the bound is a part of the prior.
"""

import argparse

import numpy as np

BOUND = "guard.log_std.high"


def capped(arrays: dict, most: float) -> dict:
    """{name: array}. ValueError: there is no guard, or a lowest log-deviation is above `most`."""
    names = [name for name in arrays if name.endswith(BOUND)]
    if not names:
        raise ValueError("these weights have no guard; finish.py fits one")
    if any(np.any(arrays[name.replace("high", "low")] >= most) for name in names):
        raise ValueError(f"a guard's range of log-deviations begins above {most:g}")
    bounds = {name: np.minimum(arrays[name], arrays[name].dtype.type(most)) for name in names}
    return arrays | bounds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", help=".npz of published names")
    parser.add_argument("log_std", type=float, help="the highest log-deviation")
    parser.add_argument("-o", "--output", required=True, help=".npz, of the same precision")
    args = parser.parse_args()
    with np.load(args.weights) as arrays:
        found = dict(arrays)
    np.savez_compressed(args.output, **capped(found, args.log_std))


if __name__ == "__main__":
    main()
