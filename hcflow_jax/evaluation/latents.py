"""Whether latents of real pictures are the white Gaussian noise that a flow takes them for."""

import dataclasses
import math

import numpy as np

EDGES = np.linspace(-32, 32, 513)
"""Of the histogram's bins, 1/8 wide."""

BEYOND_3 = math.erfc(3 / math.sqrt(2))
"""P(|x| > 3) of N(0, 1)."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of latents, and what N(0, 1) would give with so many values.

    Attributes:
      value: the figure; None where there are no values for it.
      expected, deviation: mean and, for many values, standard deviation of the figure of white
        noise.
    """

    value: float | None
    expected: float
    deviation: float | None


@dataclasses.dataclass(frozen=True)
class Sums:
    """What is summed of the latents of a level, in float64; those of several pictures add.

    Attributes:
      powers: [5] Σ x^k for k = 0 … 4.
      beyond: number of |x| > 3.
      right, below, channels: [6] of pairs (a, b) of a value and its neighbour, in the next column,
        row or channel: their number, Σa, Σb, Σa², Σb², Σab.
      histogram: counts of the bins of EDGES.
    """

    powers: np.ndarray
    beyond: int
    right: np.ndarray
    below: np.ndarray
    channels: np.ndarray
    histogram: np.ndarray

    def __add__(self, other: "Sums") -> "Sums":
        names = [field.name for field in dataclasses.fields(Sums)]
        return Sums(**{name: getattr(self, name) + getattr(other, name) for name in names})


def sums(latent: np.ndarray) -> Sums:
    """The Sums of one latent [h, w, C] of finite values."""
    x = latent.astype(np.float64)
    square = x * x
    return Sums(
        powers=np.array([x.size, x.sum(), square.sum(), (square * x).sum(), (square**2).sum()]),
        beyond=int(np.count_nonzero(np.abs(x) > 3)),
        right=_pairs(x[:, :-1], x[:, 1:]),
        below=_pairs(x[:-1], x[1:]),
        channels=_pairs(x[..., :-1], x[..., 1:]),
        histogram=np.histogram(x, EDGES)[0],
    )


def _pairs(a, b):
    return np.array([a.size, a.sum(), b.sum(), (a * a).sum(), (b * b).sum(), (a * b).sum()])


def figures(of: Sums) -> dict[str, Figure]:
    """What tells latents from n values of white N(0, 1) noise.

    mean: 0 ± 1/√n. std: √(mean (x − mean)²), 1 ± 1/√(2n). kurtosis: that in excess of a Gaussian's,
    mean (x − mean)⁴ / std⁴ − 3, 0 ± √(24/n). right, below, channels: Pearson's correlation of
    neighbouring values, 0 ± 1/√(number of pairs). beyond_3: share of |x| > 3, p ± √(p(1 − p)/n)
    with p = 0.0027.
    """
    count = float(of.powers[0])
    mean, second, third, fourth = of.powers[1:] / count
    variance = second - mean**2
    central = fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
    found = {
        "mean": Figure(float(mean), 0.0, count**-0.5),
        "std": Figure(math.sqrt(max(variance, 0)), 1.0, (2 * count) ** -0.5),
        "kurtosis": Figure(
            float(central / variance**2 - 3) if variance > 0 else None, 0.0, (24 / count) ** 0.5
        ),
    }
    found |= {name: _correlation(getattr(of, name)) for name in ("right", "below", "channels")}
    spread = math.sqrt(BEYOND_3 * (1 - BEYOND_3) / count)
    return found | {"beyond_3": Figure(of.beyond / count, BEYOND_3, spread)}


def _correlation(pairs):
    count, *totals = pairs
    if count == 0:
        return Figure(None, 0.0, None)
    a, b, aa, bb, ab = np.array(totals) / count
    variance = (aa - a * a) * (bb - b * b)
    value = float((ab - a * b) / math.sqrt(variance)) if variance > 0 else None
    return Figure(value, 0.0, float(count) ** -0.5)
