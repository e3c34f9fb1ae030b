"""What a flow knows beyond one sample: paths between samples, parts drawn anew, unlikely places."""

import dataclasses
import numbers
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from hcflow_jax.errors import UserError
from hcflow_jax.images import scratch
from hcflow_jax.model import HCFlow
from hcflow_jax.sampling import encoding, noise, pictures, tiling
from hcflow_jax.sampling.checking import Sample
from hcflow_jax.sampling.noise import Noise, Temperature

Region = tuple[int, int, int, int]
"""x, y of the upper left corner, width and height, in pixels of the result."""


def interpolate(
    model: HCFlow,
    params,
    lr: np.ndarray,
    temperature: Temperature,
    weight: float,
    indices: tuple[int, int] = (0, 1),
    seed: int = 0,
    tile: int = tiling.TILE,
    check: bool = True,
) -> np.ndarray:
    """A picture on the way from one sample (weight 0) to another (weight 1).

    decode(lr, τ·(sin((1 − weight)·π/2)·e_0 + sin(weight·π/2)·e_1)): the way is a quarter of a
    circle, on which latents are N(0, τ²) everywhere; on a straight line those in the middle would
    be colder. At its ends stand exactly the samples number indices[0] and indices[1].

    Args: as for `sample`.

    Raises:
      UserError: the weight is not from 0 to 1.
    """
    of = Noise.between(indices, weight)
    return pictures.sample(model, params, lr, temperature, seed, of, tile, check)


def mix_levels(
    model: HCFlow,
    params,
    lr: np.ndarray,
    temperature: Temperature,
    indices: tuple[int, ...],
    seed: int = 0,
    tile: int = tiling.TILE,
    check: bool = True,
) -> np.ndarray:
    """A sample whose latents of level l, finest first, are those of sample number indices[l].

    With indices (0, 7) the coarse level of a ×4 model is sample 0's and the fine one sample 7's.

    Args: as for `sample`.

    Raises:
      UserError: the model has another number of levels.
    """
    if len(indices) != len(model.levels):
        raise UserError(
            f"a ×{model.scale} model has {len(model.levels)} levels, got {len(indices)} indices "
            f"{tuple(indices)}; give one per level, finest first"
        )
    of = Noise.of_levels(indices)
    return pictures.sample(model, params, lr, temperature, seed, of, tile, check)


def resample_all(
    model: HCFlow,
    params,
    lr: np.ndarray,
    temperature: Temperature,
    region: Region,
    indices: Iterable[int],
    of: int | Noise = 0,
    seed: int = 0,
    tile: int = tiling.TILE,
    halo: int = tiling.HALO,
    check: bool = True,
    back_project: int = 0,
    progress=lambda count: None,
    code: Callable | None = None,
    batch: int = 1,
    empty: Callable[..., np.ndarray] = np.empty,
) -> Iterator[Sample]:
    """Sample `of` with one part drawn anew, from sample after sample of `indices`.

    Inside the region, widened to whole LR pixels, the noise is that of the other sample. Pixels
    within `halo` of it follow; all others equal those of sample `of`. Only windows that hold pixels
    of the region are computed for each of `indices`.

    Args:
      region: has to lie inside the result.
      indices: numbers of the samples; may be infinite.
      code: what `codes` of `sample_all` are, of this picture.
      others: as for `sample_all`.

    Raises:
      UserError: the region is empty or not inside the result, or the temperature there is 0.
    """
    noise.check_temperature(temperature)
    check_region(region, lr.shape[:2], model.scale, temperature)
    mask = region_mask(region, lr.shape[:2], model.scale)
    sampler = pictures.Sampler(
        model, params, seed, tile, halo, check, back_project, progress, batch, empty
    )
    of = of if isinstance(of, Noise) else Noise((of,))
    old = sampler.picture(lr, temperature, of, code)
    asked = old.temperatures
    kept = sampler.finish(next(sampler.draw([old])), asked).pixels
    around = around_region(region, kept.shape[:2], model.scale, halo)
    for index in indices:
        new = sampler.picture(lr, temperature, of.anew(mask, index), code)
        new.temperatures = np.where(mask, asked, old.temperatures)
        new.results = [empty(array.shape, array.dtype) for array in old.results]
        for array, others in zip(new.results, old.results, strict=True):
            scratch.fill(array, others)
        new.stale = mask
        found = sampler.finish(next(sampler.draw([new])), asked, mask)
        inside = found.pixels[around].copy()
        scratch.fill(found.pixels, kept)
        found.pixels[around] = inside
        yield found


def resample(
    model: HCFlow,
    params,
    lr: np.ndarray,
    temperature: Temperature,
    region: Region,
    index: int = 1,
    of: int | Noise = 0,
    seed: int = 0,
    tile: int = tiling.TILE,
    check: bool = True,
) -> np.ndarray:
    """The pixels of `resample_all` of one index."""
    found = resample_all(
        model, params, lr, temperature, region, [index], of, seed, tile, check=check
    )
    return next(found).pixels


def check_region(
    region: Region, lr_size: tuple[int, int], scale: int, temperature: Temperature
) -> None:
    """UserError unless there is something to draw anew in it, and it is inside the result.

    Args:
      lr_size: (height, width) of the LR picture.
    """
    if not all(isinstance(value, numbers.Integral) for value in region):
        raise UserError(f"region {region} must be four whole numbers, x, y, width and height")
    x, y, across, down = region
    name = ",".join(map(str, region))
    height, width = (scale * side for side in lr_size)
    if across < 1 or down < 1:
        raise UserError(f"region {name} is empty; give a width and a height of 1 or more")
    if x < 0 or y < 0 or x + across > width or y + down > height:
        raise UserError(
            f"region {name} is not inside the result of {width}×{height} pixels; give x,y,w,h "
            f"with x + w up to {width} and y + h up to {height}"
        )
    if not noise.stretched(temperature, *lr_size)[region_mask(region, lr_size, scale)].any():
        raise UserError(
            f"region {name} would stay as it is at temperature 0; give a higher one there"
        )


def region_mask(region: Region, size: tuple[int, int], scale: int) -> np.ndarray:
    """[h, w], true at LR pixels that overlap the region.

    Args:
      size: (height, width) of the LR picture.
    """
    x, y, across, down = region
    mask = np.zeros(size, bool)
    mask[y // scale : -(-(y + down) // scale), x // scale : -(-(x + across) // scale)] = True
    return mask


def around_region(
    region: Region, size: tuple[int, int], scale: int, reach: int = tiling.HALO
) -> tuple[slice, ...]:
    """(rows, columns) of the whole LR pixels of a region and of `reach` pixels around them.

    Args:
      size: (height, width) of the result.
    """
    x, y, across, down = region
    spans = []
    for first, last, side in ((y, y + down, size[0]), (x, x + across, size[1])):
        first, last = scale * (first // scale) - reach, -(-last // scale) * scale + reach
        spans.append(slice(max(first, 0), min(last, side)))
    return tuple(spans)


@dataclasses.dataclass(frozen=True)
class Best:
    """The best of several samples: `pixels`, its place `number` among them, all their `scores`."""

    pixels: np.ndarray
    number: int
    scores: list[float]


def best_of(
    samples: Iterable[np.ndarray], judge: Callable[[np.ndarray], float], lowest: bool = False
) -> Best:
    """argmax, or argmin where `lowest`, of judge(sample); the first of equals.

    One sample is kept at a time, so that `samples` may be a generator of many.

    Args:
      samples: pictures [H, W, 3].
      judge: a distance to a reference (`lowest`), sharpness, agreement with the LR image, …

    Raises:
      UserError: there are no samples, or a score is NaN.
    """
    best, scores = None, []
    for number, pixels in enumerate(samples):
        score = float(judge(pixels))
        if np.isnan(score):
            raise UserError(f"the judge gave NaN for sample {number}; it has to rank every sample")
        scores.append(score)
        if best is None or (score < scores[best[0]] if lowest else score > scores[best[0]]):
            best = number, pixels
    if best is None:
        raise UserError("there are no samples to choose from; draw one or more")
    return Best(best[1], best[0], scores)


def latent_energy(model: HCFlow, params, hr: np.ndarray, tile: int = tiling.TILE) -> np.ndarray:
    """E = Σ e² / D over the D latents e of all levels at an LR pixel: how improbable a place is.

    −½·D·E is what the place adds to the log-density of the latents, apart from a constant. E is 1
    on average, give or take √(2/D), in pictures that a flow trained by likelihood draws itself.
    Of other weights, those that ship included, only comparisons mean something: E is larger where
    a picture has detail that its LR image did not announce, smaller where it has none at all.

    Args:
      hr: [H, W, 3] in [0, 1]. Sides that do not divide by the scale are padded by reflection.

    Returns:
      [⌈H/scale⌉, ⌈W/scale⌉].
    """
    encoded = encoding.encode_picture(model, params, hr, tile)
    height, width, _ = encoded.lr.shape
    places = [
        x.reshape(height, len(x) // height, width, len(x) // height, -1) for x in encoded.latents
    ]
    count = sum(x[0, :, 0].size for x in places)
    return np.sum([np.square(x).sum((1, 3, 4)) for x in places], axis=0) / count


def unlikeness(energy: np.ndarray, familiar: Sequence[np.ndarray]) -> float:
    """|log mean(energy) − mean_i log mean(familiar_i)|: how far a picture is from familiar ones.

    In either direction: noise and lettering have more energy than photographs, flat areas less
    (and a higher likelihood: Nalisnick et al. 2019, "Do deep generative models know what they
    don't know?"). 0 is as familiar as can be, 1 stands for 2.7 times as much or as little.

    Args:
      energy: `latent_energy` of the picture; familiar: those of pictures like the training's.
    """
    if not len(familiar):
        raise UserError("there is nothing to compare with; give one familiar picture or more")
    least = np.finfo(np.float64).tiny  # of a picture without any detail
    own, *others = (np.log(max(np.mean(one), least)) for one in (energy, *familiar))
    return float(abs(own - np.mean(others)))
