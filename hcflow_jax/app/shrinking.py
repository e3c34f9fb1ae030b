"""The jobs of the tab Shrink and restore."""

import dataclasses
import math

import numpy as np

from hcflow_jax import images, sampling
from hcflow_jax.app import results
from hcflow_jax.app.asked import Place, Restore, Shrink
from hcflow_jax.app.jobs import Job
from hcflow_jax.errors import UserError
from hcflow_jax.images import metrics, own, small, transparency
from hcflow_jax.images.resize import Resized, imresize


def shrink(asked: Shrink, job: Job, place: Place) -> dict:
    """The small picture, what `restore` makes of its file, and how far that is from the original.

    "psnr" in dB, of RGB in 8 bits, without a border; "psnr_bicubic": that of bicubic interpolation
    down and up again, with the same kind of file between; "bytes": {"original", "small"} of files.
    """
    model, params = place.networks.get("rescaling", asked.jpeg)
    picture = results.read(asked.picture, place)
    small_size = tuple(-(-side // model.scale) for side in picture.size)
    tile = results.tiles(model, small_size, job, refine=asked.refine)
    (lr,) = sampling.downscale_all(
        model,
        params,
        [results.pixels(picture)],
        tile=tile,
        progress=job.report,
        refine=asked.refine,
        quality=small.QUALITY if asked.jpeg else None,
    )
    if not np.all(np.isfinite(lr)):
        raise UserError("the network's result is not finite; start the app with other weights")
    kind = small.JPEG if asked.jpeg else small.PNG
    name = _write_small(job, place, picture, lr, model.scale, kind)
    stored = job.session.file(name)
    found = _restored(job, model, params, results.read(stored, place), picture.size)
    restored = images.read(job.session.file(found["restored"]).path).rgb
    before, after = metrics.to_uint8(picture.rgb), metrics.to_uint8(restored)
    error = np.abs(before.astype(np.int16) - after).mean(-1)
    files = {"original": asked.picture.path, "small": stored.path}
    return found | {
        "original": results.view(asked.picture, job, picture),
        "small": name,
        "small_width": small_size[1],
        "small_height": small_size[0],
        "error": results.plane(job, error),
        "psnr": _psnr(before, after),
        "psnr_bicubic": _psnr(before, _there_and_back(job, before, small_size, asked.jpeg)),
        "bytes": {name: path.stat().st_size for name, path in files.items()},
        "notes": [*picture.notes, *found["notes"]],
    }


def restore(asked: Restore, job: Job, place: Place) -> dict:
    """A small picture brought back, to the size that it says, and its bicubic enlargement."""
    picture = results.read(asked.picture, place)
    for_jpeg, scale = _is_made_for(asked.picture, place)
    model, params = place.networks.get("rescaling", for_jpeg, scale)
    size = small.original_size(picture, model.scale)
    results.check_pixels(place, size)
    found = _restored(job, model, params, picture, size)
    if not small.is_told(picture):
        found["notes"].append(
            "This is not as hcflow shrinks pictures: detail that is restored of it is false; take "
            "Upscale for it."
        )
    elif small.was_png(picture) and for_jpeg:
        found["notes"].append(
            "A small PNG that was saved again as JPEG, which costs much of its detail: a small "
            "JPEG of the original keeps more."
        )
    whole = tuple(model.scale * side for side in picture.size)
    enlarged = Resized(picture.pixels[:], whole, size)
    found["bicubic"] = results.write(job, "restore", _opaque(picture), enlarged)
    return found


def _is_made_for(stored, place):
    """(whether by the weights for JPEGs, of which scale) a small picture is restored."""
    with images.opened(stored.path.read_bytes(), place.max_pixels) as image:
        return small.weights(image) == small.JPEG, small.scale(image)


def _write_small(job, place, picture, lr, scale, kind):
    """The name of the small picture's file, as `hcflow downscale` writes it."""
    jpeg = kind == small.JPEG
    path = job.session.new_path(".jpg" if jpeg else ".png")
    alpha = transparency.resized(picture.alpha, lr.shape[:2], scale)
    own_weights = place.networks.path("rescaling") is not None
    told = small.texts(picture, scale, None if own_weights else kind)
    images.write(
        path,
        lr,
        alpha,
        bits=images.result_bits(path, picture.bits),
        profile=picture.profile,
        xmp=picture.xmp,
        quality=small.QUALITY if jpeg else None,
        **own.marked("downscale", not jpeg, results.texts(picture) | told, picture.exif),
    )
    return job.session.keep(path)


def _restored(job, model, params, picture, size):
    """{"restored", "width", "height", "notes", "jpeg"} of a small picture."""
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
    whole = dataclasses.replace(picture, alpha=alpha, grey=small.was_grey(picture))
    name = results.write(job, "restore", whole, sample.pixels[: size[0], : size[1]])
    found = {"restored": name, "width": size[1], "height": size[0], "notes": notes}
    return found | {"jpeg": results.has_jpeg(picture, size)}


def _opaque(picture):
    return images.Picture(picture.values, None, picture.grey, {}, profile=picture.profile)


def _psnr(before, after):
    """In dB; None, which JSON has, for equal pictures."""
    found = metrics.psnr(before, after)
    return found if math.isfinite(found) else None


def _there_and_back(job, rgb, size, jpeg):
    """Shrunk and enlarged by bicubic interpolation; in between saved as small pictures are."""
    found = imresize(rgb, size=size)
    if jpeg:
        path = job.session.new_path(".jpg")
        images.write(path, found.astype(np.float32) / 255, quality=small.QUALITY)
        found = images.read_uint8(path)
        path.unlink()
    return imresize(found, size=rgb.shape[:2])
