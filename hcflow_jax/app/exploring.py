"""The jobs of the tab Explore: samples, between two of them, and parts of them drawn anew."""

import dataclasses
from pathlib import Path

import numpy as np

from hcflow_jax import images, sampling
from hcflow_jax.app import results
from hcflow_jax.app.asked import Draw, Paint, Place, Redraw, Relevel
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
    """A sample, or one on the way between two."""
    noise = Noise.between(asked.between, asked.weight)
    return _drawn(job, place, asked.picture, asked.temperature, asked.seed, noise)


def relevel(asked: Relevel, job: Job, place: Place) -> dict:
    """A state with one level drawn anew; the noise of the others stays, and all the rest."""
    state = _state(asked)
    model, _ = place.networks.get("sr")
    levels = len(model.levels)
    if not np.any(state.temperature):
        raise UserError("at temperature 0 there is no variation; draw at a higher one first")
    if levels == 1 and not asked.finest:
        raise UserError(f"a ×{model.scale} network has one level, the fine one; draw that anew")
    which = (np.arange(levels) == 0) == asked.finest
    noise = state.noise.anew(which[None, None], asked.index)
    return _drawn(job, place, state.picture, state.temperature, state.seed, noise)


def paint(asked: Paint, job: Job, place: Place) -> dict:
    """A state at temperatures that were painted, of the same noise."""
    state = _state(asked)
    temperature = asked.temperature * results.read(asked.brush, place).rgb.mean(-1)
    return _drawn(job, place, state.picture, temperature, state.seed, state.noise)


def redraw(asked: Redraw, job: Job, place: Place) -> dict:
    """A state with a region drawn anew; pixels farther from it than HALO are the state's."""
    state = _state(asked)
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


def _state(asked):
    """The State of the result that is to be changed."""
    if not isinstance(asked.state.facts, State):
        raise UserError("only what was drawn here can be drawn anew; draw the picture first")
    return asked.state.facts


def _drawn(job, place, stored, temperature, seed, noise):
    """The result of a job: a picture drawn as a whole."""
    model, params = place.networks.get("sr")
    picture = results.read(stored, place)
    results.check_pixels(place, tuple(model.scale * side for side in picture.size))
    (sample,) = sampling.sample_all(
        model,
        params,
        [(results.pixels(picture), noise)],
        temperature,
        seed,
        codes=[_code(picture).values],
        **results.options(model, picture.size, job),
    )
    found = _kept(job, picture, sample.pixels, (stored, temperature, seed, noise))
    return found | {"notes": [*picture.notes, *results.checked(sample)]}


def _code(picture):
    return images.result_coding(Path("any.png"), picture.grey, 8, picture.profile)


def _kept(job, picture, pixels, state):
    """The result of a job: a PNG, whose State is kept with it."""
    values = job.session.new_path(".npy")
    np.save(values, pixels)
    job.session.keep(values)
    name = results.write(job, "upscale", picture, pixels, facts=State(*state, values))
    found = {"width": pixels.shape[1], "height": pixels.shape[0], "state": name}
    return found | {"jpeg": results.has_jpeg(picture, pixels.shape[:2])}
