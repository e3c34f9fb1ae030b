"""Between files of a page and networks: pictures read, samples drawn and written."""

import functools
import math
import shutil

import numpy as np

from hcflow_jax import images, sampling
from hcflow_jax.app import pictures
from hcflow_jax.app.asked import Place
from hcflow_jax.app.jobs import Job
from hcflow_jax.app.sessions import NO_ROOM, GoneError, Stored
from hcflow_jax.errors import UserError
from hcflow_jax.images import formats, own, scratch
from hcflow_jax.images.resize import Resized
from hcflow_jax.sampling import memory, tiling


def read(stored: Stored, place: Place) -> images.Picture:
    """A picture of a page; GoneError or ImageError where it cannot be read."""
    try:
        data = stored.path.read_bytes()
    except FileNotFoundError as error:
        raise GoneError("the picture is no longer here; choose it again") from error
    return images.read(data, place.max_pixels)


def pixels(picture: images.Picture) -> np.ndarray:
    """What `sampling` takes of it, computed part by part."""
    return picture.pixels  # type: ignore[return-value]  # has what is needed of an array


def check_pixels(
    place: Place, size: tuple[int, int], count: int = 1, remedy: str = "take a smaller picture"
) -> None:
    """UserError, which names `remedy`, where `count` files of (height, width) are too many pixels.

    What is computed on the way may have more; see `check_room`.
    """
    if count * math.prod(size) > place.max_pixels:
        what = f"{count} results" if count > 1 else "a result"
        raise UserError(
            f"{what} of {size[1]}×{size[0]} pixels would be more than {place.max_pixels:,}; "
            f"{remedy}, or start the app with a larger --max-pixels"
        )


def check_room(job: Job, size: tuple[int, int], count: int) -> None:
    """UserError where the disk has no room for what is kept on the way to `count` results.

    That is a sample of (height, width) for each, of 16 bits, which is written once all are drawn.
    """
    if 6 * count * math.prod(size) > shutil.disk_usage(job.session.folder).free:
        raise UserError(NO_ROOM)


def has_jpeg(picture: images.Picture, size: tuple[int, int]) -> bool:
    """Whether a result of (height, width) can be saved as JPEG, which `as_jpeg` of `pictures` does.

    JPEG has no transparency, and sides of 65,500 pixels at most.
    """
    return picture.alpha is None and max(size) <= formats.FORMATS[".jpg"].side


def tiles(model, lr_size: tuple[int, int], job: Job, samples: int = 1, refine: int = 0) -> int:
    """The side of tiles that memory allows; the job is told of them, and of `refine` steps each."""
    held = memory.of_results(lr_size, model.scale, 12)
    tile = memory.fitting(model, lr_size, held, memory.available() // 2, refine > 0)
    job.total += samples * (1 + refine) * tiling.count(lr_size, model.scale, tile)
    return tile


def options(model, lr_size: tuple[int, int], job: Job, samples: int = 1) -> dict:
    """Those of `sampling.sample_all` and `resample_all` that are the same in all jobs."""
    return {
        "tile": tiles(model, lr_size, job, samples),
        "back_project": sampling.BACK_PROJECTION if model.task == "sr" else 0,
        "progress": job.report,
        "empty": functools.partial(_empty, folder=job.session.folder),
    }


def _empty(shape, dtype, folder):
    try:
        return scratch.empty(shape, dtype, folder)
    except UserError as error:  # it names an option of other commands
        raise UserError(NO_ROOM) from error


def checked(sample: sampling.Sample) -> list[str]:
    """What to tell of a sample, sentences; UserError where it is not finite."""
    if not sample.finite:
        raise UserError("the network's result is not finite; start the app with other weights")
    told = []
    if sample.colder:
        told.append(
            f"{_share(sample.colder)} was drawn again at a lower temperature, as samples did not "
            "match the picture there."
        )
    if sample.bicubic:
        told.append(
            f"{_share(sample.bicubic)} is enlarged by bicubic interpolation, as the network fails "
            "there at temperature 0 too."
        )
    return told


def _share(fraction):
    return f"{100 * fraction:.0f} %" if fraction >= 0.01 else "Less than 1 %"


def write(job: Job, command: str, picture: images.Picture, rgb, facts=None):
    """The name of a PNG with the alpha, profile and metadata of `picture`.

    Args:
      command: of hcflow, whose result it is.
      rgb: as `images.write` takes it; whole numbers are coded already.
    """
    path = job.session.new_path(".png")
    size = rgb.shape[:2]
    alpha = _resized(picture.alpha, size)
    coded = isinstance(rgb, np.ndarray) and np.issubdtype(rgb.dtype, np.integer)
    images.write(
        path,
        rgb,
        alpha,
        picture.grey,
        bits=8 * rgb.dtype.itemsize if coded else picture.bits,
        profile=picture.profile,
        xmp=picture.xmp,
        coded=coded,
        **own.marked(command, True, texts(picture), picture.exif),
    )
    return job.session.keep(path, facts)


def texts(picture: images.Picture) -> dict[str, str]:
    """Those of a picture that its results have too: all but this program's own."""
    return {k: v for k, v in picture.info.items() if not k.startswith(own.PREFIX)}


def _resized(alpha, size):
    return alpha if alpha is None or alpha.shape == size else Resized(alpha, size)


def view(stored: Stored, job: Job, picture: images.Picture) -> str:
    """The name of a picture of a page in a format that browsers show."""
    if pictures.is_shown(stored):
        return stored.path.stem
    return write(job, "upscale", picture, Resized(picture.pixels[:], picture.size))


def bicubic(job: Job, picture: images.Picture, size: tuple[int, int]) -> str:
    """The name of the picture's bicubic enlargement to (height, width), to compare with."""
    return write(job, "upscale", picture, Resized(picture.pixels[:], size))


def plane(job: Job, values: np.ndarray) -> dict:
    """{"name", "white"} of a grey PNG of deviations or errors [H, W], and what is white in it.

    That is their 99.9th percentile, at least 1, so that small ones are seen too.
    """
    path = job.session.new_path(".png")
    white = max(1.0, float(np.percentile(values, 99.9)))
    bright = np.clip(values / white, 0, 1).astype(np.float32)
    images.write(path, np.broadcast_to(bright[..., None], (*bright.shape, 3)), grey=True)
    return {"name": job.session.keep(path), "white": white}
