"""The jobs of the tab Shrink and restore."""

import math
import re

import numpy as np

from hcflow_jax import images, sampling
from hcflow_jax.app import results
from hcflow_jax.app.asked import Place, Restore, Shrink
from hcflow_jax.app.jobs import Job
from hcflow_jax.errors import UserError
from hcflow_jax.images import metrics, own, transparency
from hcflow_jax.images.resize import Resized, imresize

_SIZE, _GREY = f"{own.PREFIX}size", f"{own.PREFIX}grey"
"""Text chunks of small pictures, as `hcflow downscale` writes and `hcflow restore` reads them."""


def shrink(asked: Shrink, job: Job, place: Place) -> dict:
    """The small picture, what `restore` makes of its file, and how far that is from the original.

    "psnr" in dB, of RGB in 8 bits, without a border; "psnr_bicubic": that of bicubic interpolation
    down and up again; "bytes": {"original", "small"} of the files.
    """
    model, params = place.networks.get("rescaling")
    picture = results.read(asked.picture, place)
    small_size = tuple(-(-side // model.scale) for side in picture.size)
    tile = results.tiles(model, small_size, job)
    inputs, report = [results.pixels(picture)], job.report
    (lr,) = sampling.downscale_all(model, params, inputs, tile=tile, progress=report)
    if not np.all(np.isfinite(lr)):
        raise UserError("the network's result is not finite; start the app with other weights")
    small = _write_small(job, picture, lr, model.scale)
    found = _restored(job, place, job.session.file(small), picture.size)
    restored = images.read(job.session.file(found["restored"]).path).rgb
    before, after = metrics.to_uint8(picture.rgb), metrics.to_uint8(restored)
    error = np.abs(before.astype(np.int16) - after).mean(-1)
    files = {"original": asked.picture.path, "small": job.session.file(small).path}
    return found | {
        "original": results.view(asked.picture, job, picture),
        "small": small,
        "small_width": small_size[1],
        "small_height": small_size[0],
        "error": results.plane(job, error),
        "psnr": _psnr(before, after),
        "psnr_bicubic": _psnr(before, _there_and_back(before, small_size)),
        "bytes": {name: path.stat().st_size for name, path in files.items()},
        "notes": [*picture.notes, *found["notes"]],
    }


def restore(asked: Restore, job: Job, place: Place) -> dict:
    """A small picture brought back, to the size that it says, and its bicubic enlargement."""
    model, _ = place.networks.get("rescaling")
    picture = results.read(asked.picture, place)
    size = _original_size(picture, model.scale)
    results.check_pixels(place, size)
    found = _restored(job, place, asked.picture, size)
    if _SIZE not in picture.info:
        found["notes"].append(
            "This is not as hcflow shrinks pictures: detail that is restored of it is false; take "
            "Upscale for it."
        )
    whole = tuple(model.scale * side for side in picture.size)
    enlarged = Resized(picture.pixels[:], whole, size)
    found["bicubic"] = results.write(job, "restore", _opaque(picture), enlarged)
    return found


def _write_small(job, picture, lr, scale):
    height, width = picture.size
    alpha = transparency.resized(picture.alpha, lr.shape[:2], scale)
    info = {_SIZE: f"{width}x{height}", _GREY: str(int(picture.grey))}
    path = job.session.new_path(".png")
    marks = own.marked("downscale", True, info, b"")
    images.write(path, lr, alpha, bits=picture.bits, profile=picture.profile, **marks)
    return job.session.keep(path)


def _restored(job, place, stored, size):
    """{"restored", "width", "height", "notes"} of a small picture's file."""
    model, params = place.networks.get("rescaling")
    picture = results.read(stored, place)
    (sample,) = sampling.sample_all(
        model,
        params,
        [(results.pixels(picture), 0)],
        0.0,
        **results.options(model, picture.size, job),
    )
    notes = results.checked(sample)
    alpha = picture.alpha
    if alpha is not None:
        alpha = np.asarray(Resized(alpha, sample.pixels.shape[:2], size)[:], np.float32)
    grey = picture.info.get(_GREY, str(int(picture.grey))) == "1"
    whole = images.Picture(
        picture.values, alpha, grey, {}, picture.bits, picture.profile, picture.exif, picture.xmp
    )
    name = results.write(job, "restore", whole, sample.pixels[: size[0], : size[1]])
    found = {"restored": name, "width": size[1], "height": size[0], "notes": notes}
    return found | {"jpeg": picture.alpha is None}


def _opaque(picture):
    return images.Picture(picture.values, None, picture.grey, {}, profile=picture.profile)


def _psnr(before, after):
    """In dB; None, which JSON has, for equal pictures."""
    found = metrics.psnr(before, after)
    return found if math.isfinite(found) else None


def _there_and_back(rgb, small_size):
    return imresize(imresize(rgb, size=small_size), size=rgb.shape[:2])


def _original_size(picture, scale):
    """(height, width) by the text chunk, else those of the whole result."""
    height, width = picture.size
    text = picture.info.get(_SIZE)
    if text is None:
        return height * scale, width * scale
    if not re.fullmatch(r"[0-9]{1,9}x[0-9]{1,9}", text):
        raise UserError(f"the picture's {_SIZE} is not a size; shrink the original again")
    full_width, full_height = (int(part) for part in text.split("x"))
    if (-(-full_height // scale), -(-full_width // scale)) != (height, width):
        raise UserError(
            f"the picture is {width}×{height} but was made from {full_width}×{full_height}: it was "
            "resized or cropped since; shrink the original again"
        )
    return full_height, full_width
