"""What a sample is drawn from: mixtures of independent noise, and temperatures by place."""

import dataclasses

import numpy as np

from hcflow_jax.errors import UserError
from hcflow_jax.images.resize import imresize

MAX_TEMPERATURE = 2.0
"""The highest temperature of a sample; networks are trained for 1."""

Temperature = float | np.ndarray
"""One for the whole picture, or a map [h', w'] that is stretched over it."""


def _one():
    return np.ones((1, 1, 1, 1), np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Noise:
    """e = Σ_k mix_k·e_k, e_k the noise of sample number indices[k] of a seed; N(0, 1) like them.

    Attributes:
      indices: K numbers of samples.
      mix: [h or 1, w or 1, K, L or 1], a factor for each LR pixel, sample and level, finest level
        first; Σ_k mix_k² = 1.

    Raises:
      ValueError: shapes do not fit, squares do not add up to 1, or an index is there twice or no
        whole number from 0 to 2^32 − 1.
    """

    indices: tuple[int, ...] = (0,)
    mix: np.ndarray = dataclasses.field(default_factory=_one)

    def __post_init__(self):
        for index in self.indices:
            check_uint32("the index", index)
        if len(set(self.indices)) < len(self.indices):
            raise ValueError(f"the indices {self.indices} of a mix must differ")
        if self.mix.ndim != 4 or self.mix.shape[2] != len(self.indices):
            raise ValueError(
                f"a mix of {len(self.indices)} samples must be [h, w, {len(self.indices)}, L], "
                f"got {self.mix.shape}"
            )
        if not np.allclose(np.square(self.mix).sum(axis=2), 1, atol=1e-5):
            raise ValueError("the squares of a mix must add up to 1 everywhere")

    @classmethod
    def between(cls, indices: tuple[int, int], weight: float) -> "Noise":
        """sin((1 − weight)·π/2)·e_0 + sin(weight·π/2)·e_1: a quarter of a circle.

        Weights 0 and 1 give e_0 and e_1 exactly. UserError for weights outside [0, 1].
        """
        if not 0 <= weight <= 1:
            raise UserError(f"weight {weight} is not from 0 to 1, the two samples")
        if indices[0] == indices[1]:
            return cls(tuple(indices[:1]))
        mix = np.sin(np.array([1 - weight, weight]) * np.pi / 2)
        return cls(tuple(indices), mix.astype(np.float32)[None, None, :, None])

    @classmethod
    def of_levels(cls, indices: tuple[int, ...]) -> "Noise":
        """At level l, finest first, the noise of sample indices[l]."""
        distinct = tuple(dict.fromkeys(indices))
        mix = np.equal.outer(distinct, indices).astype(np.float32)
        return cls(distinct, mix[None, None])

    def anew(self, mask: np.ndarray, index: int) -> "Noise":
        """This noise, but that of sample `index` where `mask` is true.

        Args:
          mask: [h, w], LR pixels, or [h or 1, w or 1, L], those of each level, finest level first.
        """
        indices, mix = self.indices, self.mix
        if index not in indices:
            indices, mix = (*indices, index), np.pad(mix, [(0, 0), (0, 0), (0, 1), (0, 0)])
        alone = np.equal(indices, index)[:, None]
        mask = mask[..., None] if mask.ndim == 2 else mask
        mix = np.where(mask[:, :, None, :], alone, mix)
        return Noise(indices, mix.astype(np.float32))


def check_uint32(what: str, value) -> None:
    """ValueError unless `value` is a whole number from 0 to 2^32 − 1."""
    if not isinstance(value, int | np.integer) or not 0 <= value < 2**32:
        raise ValueError(f"{what} must be a whole number from 0 to 2^32 − 1, got {value!r}")


def check_temperature(temperature: Temperature) -> None:
    """UserError unless it is a number, or a map [h, w] of numbers, from 0 to MAX_TEMPERATURE."""
    values = np.asarray(temperature, np.float64)
    if values.ndim not in (0, 2) or values.size == 0:
        raise UserError(f"a map of temperatures must be [h, w], got shape {values.shape}")
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= MAX_TEMPERATURE):
        found = (
            f"temperature {temperature}" if values.ndim == 0 else f"a map of {low:g} to {high:g}"
        )
        raise UserError(
            f"{found} is not from 0 to {MAX_TEMPERATURE:g}; full-size networks look best at 0.8 "
            "to 0.9"
        )


def stretched(temperature: Temperature, height: int, width: int) -> np.ndarray:
    """[height, width] float32 of the temperature, or of the map, which bicubic resizing stretches.

    A map of that size is taken as it is, a larger one is averaged; nothing leaves its range.
    """
    values = np.asarray(temperature, np.float32)
    if values.ndim == 0:
        return np.broadcast_to(values, (height, width))
    return np.clip(imresize(values, size=(height, width)), values.min(), values.max())
