"""The weighted mean of two trainings' weights, where one went on from the other.

    python experiments/shipped_weights/mean.py OLD NEW SHARE -o OUT.npz

(1 − SHARE)·OLD + SHARE·NEW, array by array. (Wortsman et al. 2022, "Robust fine-tuning of zero-shot
models": between the two, errors are often lower than at either end.)
"""

import argparse

import numpy as np


def mean(old: dict, new: dict, share: float) -> dict:
    """{name: float32 array}. ValueError: they are of different networks."""
    shapes = [{name: array.shape for name, array in arrays.items()} for arrays in (old, new)]
    if shapes[0] != shapes[1]:
        raise ValueError("the two files hold different networks")
    return {
        name: (1 - share) * old[name].astype(np.float32) + share * new[name].astype(np.float32)
        for name in old
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("share", type=float, help="of the new one, from 0 to 1")
    parser.add_argument("-o", "--output", required=True)
    args = parser.parse_args()
    with np.load(args.old) as old, np.load(args.new) as new:
        arrays = mean(dict(old), dict(new), args.share)
    np.savez_compressed(args.output, **{k: v.astype(np.float16) for k, v in arrays.items()})


if __name__ == "__main__":
    main()
