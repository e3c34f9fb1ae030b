"""The job of the tab Upscale."""

import itertools
import math
from pathlib import Path

import numpy as np

from hcflow_jax import images, sampling
from hcflow_jax.app import results
from hcflow_jax.app.asked import Place, Upscale
from hcflow_jax.app.jobs import Job
from hcflow_jax.errors import UserError
from hcflow_jax.images import coding, metrics
from hcflow_jax.images.resize import Resized, scaled

_ROWS = 128  # of results whose spread is computed at a time


def upscale(asked: Upscale, job: Job, place: Place) -> dict:
    """Samples, each as `hcflow upscale` writes it, the bicubic enlargement, and their spread."""
    model, params = place.networks.get("sr", scale=asked.scale)
    if asked.scale > model.scale:
        raise UserError(f"scale {asked.scale:g} is more than the network's ×{model.scale}")
    picture = results.read(asked.picture, place)
    whole, size = (scaled(picture.size, factor) for factor in (model.scale, asked.scale))
    results.check_pixels(place, size, asked.samples, _remedy(asked, picture.size, place))
    results.check_room(job, whole, asked.samples)
    drawn = sampling.sample_all(
        model,
        params,
        ((results.pixels(picture), index) for index in range(asked.samples)),
        asked.temperature,
        asked.seed,
        codes=itertools.repeat(_code(picture, size == whole).values),
        **results.options(model, picture.size, job, asked.samples),
    )
    names, notes, finals = [], [*picture.notes], []
    for sample in drawn:
        notes += results.checked(sample)
        kept = sample.pixels
        final = kept if size == whole else Resized(kept, size, factor=1 / 65535)
        names.append(results.write(job, "upscale", picture, final))
        finals.append(final)
        job.check()
    found = {"width": size[1], "height": size[0], "samples": names}
    found["jpeg"] = results.has_jpeg(picture, size)
    found["bicubic"] = results.bicubic(job, picture, size)
    if len(finals) > 1:
        found["spread"] = results.plane(job, _spread(finals, size))
    return found | {"notes": list(dict.fromkeys(notes))}


def _remedy(asked, size, place):
    """What to do where results are too many pixels."""
    fewer = "take fewer samples" if asked.samples > 1 else "take a smaller picture"
    most = math.floor(100 * math.sqrt(place.max_pixels / (asked.samples * math.prod(size)))) / 100
    return f"take a scale up to {most:g} or {fewer.removeprefix('take ')}" if most >= 1 else fewer


def _code(picture, whole):
    """How samples are kept until they are written: as files have them, or to be shrunk."""
    if not whole:
        return coding.Coding(16)
    file = Path("any.png")
    return images.result_coding(file, picture.grey, picture.bits, picture.profile)


def _in_8_bits(pixels):
    if pixels.dtype == np.uint8:
        return pixels
    return metrics.to_uint8(pixels / 65535 if pixels.dtype == np.uint16 else pixels)


def _spread(samples, size):
    """[H, W]: standard deviation over samples, of 255, mean of the channels."""
    spread = np.empty(size, np.float32)
    for top in range(0, size[0], _ROWS):
        strips = [_in_8_bits(sample[top : top + _ROWS]) for sample in samples]
        spread[top : top + _ROWS] = metrics.deviation(strips).mean(-1)
    return spread
