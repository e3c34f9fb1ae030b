"""Writes the photographs of DATA.zip that are held out of training as PNGs, for `hcflow evaluate`.

python experiments/shipped_weights/held_out.py DATA.zip FOLDER
hcflow evaluate FOLDER --checkpoint sr_x4.npz --checkpoint rescaling_x4.npz
"""

import sys
from pathlib import Path

from batches import Tiles
from PIL import Image

if __name__ == "__main__":
    data, folder = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in Tiles(data).held_out.items():
        Image.fromarray(image).save(folder / f"{name}.png")
