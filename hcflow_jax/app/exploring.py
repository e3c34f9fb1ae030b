"""The jobs of the tab Explore: samples between others, of mixed levels, with parts drawn anew."""

import dataclasses
from pathlib import Path

import numpy as np

from hcflow_jax import images, sampling
from hcflow_jax.app import results
from hcflow_jax.app.asked import Draw, Place, Redraw
from hcflow_jax.app.jobs import Job
from hcflow_jax.app.sessions import GoneError, Stored
from hcflow_jax.errors import UserError
from hcflow_jax.sampling.noise import Noise


@dataclasses.dataclass(frozen=True)
class State:
    """What a result was drawn from, so that parts of it can be drawn anew.

    Attributes:
      temperature: a number, or a map as `sampling.sample_all` takes it.
      values: the file of its pixels, whole numbers [H, W, 1 or 3] as its PNG codes them.
    """

    picture: Stored
    temperature: float | np.ndarray
    seed: int
    noise: Noise
    values: Path


def draw(asked: Draw, job: Job, place: Place) -> dict:
    """A sample of a mixture of noise."""
    model, params = place.networks.get("sr")
    picture = results.read(asked.picture, place)
    results.check_pixels(place, tuple(model.scale * side for side in picture.size))
    noise = _noise(asked, len(model.levels))
    temperature = _temperature(asked, place)
    (sample,) = sampling.sample_all(
        model,
        params,
        [(results.pixels(picture), noise)],
        temperature,
        asked.seed,
        codes=[_code(picture).values],
        **results.options(model, picture.size, job),
    )
    state = (asked.picture, temperature, asked.seed, noise)
    found = _kept(job, picture, sample.pixels, state)
    return found | {"notes": [*picture.notes, *results.checked(sample)]}


def redraw(asked: Redraw, job: Job, place: Place) -> dict:
    """A state with a region drawn anew; pixels farther from it than HALO are the state's."""
    state = asked.state.facts
    if not isinstance(state, State):
        raise UserError("only what was drawn here can be drawn anew; draw the picture first")
    if not state.values.exists():
        raise GoneError("this state is too long ago; take a later one")
    model, params = place.networks.get("sr")
    picture = results.read(state.picture, place)
    (sample,) = sampling.resample_all(
        model,
        params,
        results.pixels(picture),
        state.temperature,
        asked.region,
        [asked.index],
        state.noise,
        state.seed,
        code=_code(picture).values,
        **results.options(model, picture.size, job),
    )
    notes = results.checked(sample)
    pixels, before = sample.pixels, np.load(state.values)
    inside = sampling.around_region(asked.region, pixels.shape[:2], model.scale)
    before[inside] = pixels[inside]
    mask = sampling.region_mask(asked.region, picture.size, model.scale)
    noise = state.noise.anew(mask, asked.index)
    kept = _kept(job, picture, before, (state.picture, state.temperature, state.seed, noise))
    return kept | {"notes": notes}


def _noise(asked, levels):
    if asked.fine is None:
        return Noise.between(asked.between, asked.weight)
    return Noise.of_levels((asked.fine, *[asked.coarse] * (levels - 1)))


def _temperature(asked, place):
    """The temperature, or a map of it."""
    if asked.temperature == 0:
        return 0.0
    if asked.brush is None:
        return asked.temperature
    return asked.temperature * results.read(asked.brush, place).rgb.mean(-1)


def _code(picture):
    return images.result_coding(Path("any.png"), picture.grey, 8, picture.profile)


def _kept(job, picture, pixels, state):
    """The result of a job: a PNG, whose State is kept with it."""
    values = job.session.new_path(".npy")
    np.save(values, pixels)
    job.session.keep(values)
    name = results.write(job, "upscale", picture, pixels, facts=State(*state, values))
    found = {"width": pixels.shape[1], "height": pixels.shape[0], "state": name}
    return found | {"jpeg": picture.alpha is None}
