"""The seven photographs, of scikit-image and scikit-learn, that no training has seen.

pip install scikit-image scikit-learn
python experiments/studies/seven.py FOLDER         writes them as PNGs, for `hcflow evaluate`
"""

import argparse
from pathlib import Path

import numpy as np
import skimage.data
import sklearn.datasets
from PIL import Image

from hcflow_jax import images


def photographs(scale: int = 4, folder: Path | None = None) -> dict[str, np.ndarray]:
    """{name: uint8 [H, W, 3]}, sides cropped to multiples of `scale`; of a folder where given."""
    found = _seven() if folder is None else _all_of(folder)
    return {name: image[images.crop(image.shape[:2], scale)] for name, image in found.items()}


def _all_of(folder):
    return {path.name: images.read_uint8(path) for path in images.list_images(folder)}


def _seven():
    names = ("astronaut", "chelsea", "coffee", "rocket")
    found = {name: getattr(skimage.data, name)() for name in names}
    found["motorcycle"] = skimage.data.stereo_motorcycle()[0]
    for name in ("china", "flower"):
        found[name] = sklearn.datasets.load_sample_image(f"{name}.jpg")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="made where there is none")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name, image in photographs(1).items():
        Image.fromarray(image).save(args.folder / f"{name}.png")
