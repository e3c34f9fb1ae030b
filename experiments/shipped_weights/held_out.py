"""Writes the photographs of DATA.zip that are held out of training as PNGs, for `hcflow evaluate`.

python experiments/shipped_weights/held_out.py DATA.zip FOLDER
hcflow evaluate FOLDER --checkpoint sr_x4.npz --checkpoint rescaling_x4.npz
"""

import argparse
from pathlib import Path

from batches import Tiles
from PIL import Image

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="zip written by pack.py")
    parser.add_argument("folder", type=Path, help="made where there is none")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name, image in Tiles(args.data).held_out.items():
        Image.fromarray(image).save(args.folder / f"{name}.png")
