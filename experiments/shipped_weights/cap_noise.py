"""Weights whose guard lets a prior's log-deviations rise no higher than a bound.

    python experiments/shipped_weights/cap_noise.py WEIGHTS LOG_STD -o OUT.npz

Samples stray by that deviation times the temperature. A guard that `finish.py` fitted lets it reach
e³·⁵, with which samples of noise and hard edges leave the range of pictures; with e⁻⁰·⁵ they hardly
do, and photographs are a little less likely (README.md). The map stays an exact bijection with the
log-determinant that it reports: the bound is a part of the prior.
"""

import argparse

import numpy as np

LOW, HIGH = "guard.log_std.low", "guard.log_std.high"


def capped(arrays: dict, most: float) -> dict:
    """{name: array}. ValueError: there is no guard, or a lowest log-deviation is above `most`."""
    bounds = {k: np.minimum(a, a.dtype.type(most)) for k, a in arrays.items() if k.endswith(HIGH)}
    if not bounds:
        raise ValueError("these weights have no guard; finish.py fits one")
    if any(np.any(arrays[name] >= most) for name in arrays if name.endswith(LOW)):
        raise ValueError(f"a guard's range of log-deviations begins above {most:g}")
    return arrays | bounds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", help=".npz of published names")
    parser.add_argument("log_std", type=float, help="the highest log-deviation")
    parser.add_argument("-o", "--output", required=True, help=".npz, of the same precision")
    args = parser.parse_args()
    with np.load(args.weights) as arrays:
        found = dict(arrays)
    try:
        found = capped(found, args.log_std)
    except ValueError as error:
        parser.error(f"{args.weights}: {error}")
    np.savez_compressed(args.output, **found)


if __name__ == "__main__":
    main()
