"""Finding and reading the HR pictures of a test set and their LR pictures."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from hcflow_jax import images
from hcflow_jax.data.pairing import images_in, partners
from hcflow_jax.data.source import crop
from hcflow_jax.errors import UserError, shown
from hcflow_jax.images import own
from hcflow_jax.images.resize import imresize
from hcflow_jax.paths import is_file, reached


@dataclasses.dataclass(frozen=True)
class Files:
    """An HR file of a test set.

    Attributes:
      lr: its LR file; None where the bicubic LR picture stands for it.
      searched: the folder that has no LR file for it.
    """

    hr: Path
    lr: Path | None = None
    searched: Path | None = None

    @property
    def name(self) -> str:
        """The file's name, safe to print."""
        return shown(self.hr.name)


@dataclasses.dataclass(frozen=True)
class Pixels:
    """What `Files` hold: uint8 RGB, the HR sides being the LR sides times the scale.

    Attributes:
      digest: hash of both pictures.
      cropped: whether rows or columns of the HR file were left out.
    """

    hr: np.ndarray
    lr: np.ndarray
    digest: str
    cropped: bool


def pictures(hr: str | Path) -> tuple[list[Path], int]:
    """The HR pictures of a folder, or that file, and how many results of this program are beside.

    ImageError where there is no HR picture.
    """
    found = images.list_images(hr)
    results = own.results(found) if found != [reached(hr)] else {}
    if len(results) == len(found):
        raise images.ImageError(f"{hr} holds results of hcflow alone; name another folder")
    return [path for path in found if path not in results], len(results)


def find(found: list[Path], lr_dir: str | Path | None, scale: int) -> list[Files]:
    """HR pictures with the LR files of the same name in a folder, or that file.

    Names are matched as `data.pairing.partners` does. ImageError where two pictures have one name.
    """
    if lr_dir is None:
        return [Files(path) for path in found]
    folder = reached(lr_dir)
    if is_file(folder) and len(found) == 1:
        return [Files(found[0], folder)]
    pairs, _ = partners(found, images_in(folder), scale)
    return [Files(path, lr, folder if lr is None else None) for path, lr in pairs]


def read(files: Files, scale: int, least: int, max_pixels: int) -> Pixels:
    """The pixels of a pair: HR without the last rows and columns that do not divide by `scale`.

    Without an LR file, LR is MATLAB's bicubic downscaling, in 8 bits.

    Args:
      least: pixels that a side of the HR picture must have.

    ImageError, naming the file and the remedy, where one is missing, unreadable, too small or too
    large, or the sizes do not fit.
    """
    if files.searched is not None:
        raise images.ImageError(
            f"{files.hr} has no LR picture in {files.searched}; add it or leave out --lr"
        )
    whole = images.read_uint8(files.hr, max_pixels)
    hr = crop(whole, scale)
    if min(hr.shape[:2]) < least:
        size = f"{whole.shape[1]}×{whole.shape[0]}"
        raise images.ImageError(
            f"{files.hr} is {size}, and figures need sides of {least} pixels; remove it"
        )
    lr = imresize(hr, 1 / scale) if files.lr is None else images.read_uint8(files.lr, max_pixels)
    if tuple(scale * side for side in lr.shape[:2]) != hr.shape[:2]:
        raise images.ImageError(
            f"{files.hr} is {whole.shape[1]}×{whole.shape[0]}, not {scale} times {files.lr}, "
            f"{lr.shape[1]}×{lr.shape[0]}; crop it, or name another --scale"
        )
    digest = hashlib.sha256(repr(hr.shape).encode() + hr.tobytes() + lr.tobytes()).hexdigest()
    return Pixels(hr, lr, digest, hr.shape != whole.shape)


def look(files: Files, scale: int, least: int, max_pixels: int) -> Pixels | UserError:
    """`read`, or the error that it raised."""
    try:
        return read(files, scale, least, max_pixels)
    except UserError as error:
        return error
