"""Test pictures through methods: samples, their figures, and what is kept of them."""

import dataclasses
import functools
import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

import hcflow_jax
from hcflow_jax import sampling
from hcflow_jax.data import work
from hcflow_jax.errors import UserError
from hcflow_jax.evaluation import figures, pairs
from hcflow_jax.evaluation.kept import SPREAD_GAIN, Kept
from hcflow_jax.evaluation.lpips import LEAST_SIDE, LPIPS
from hcflow_jax.evaluation.lpips import SHA256 as LPIPS_FILES
from hcflow_jax.evaluation.methods import Method
from hcflow_jax.evaluation.pairs import Files, Pixels
from hcflow_jax.images import metrics

PROTOCOL = 1
"""Counts up when figures of the same pictures change their meaning."""

THREADS = 4
"""That measure pictures at a time, at most: a result of 2 megapixels takes them 1 GB each."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How pictures are read, sampled and measured; `lpips` is None where it is not measured."""

    scale: int
    seed: int = 0
    tile: int = 1024
    max_pixels: int = 100_000_000
    lpips: LPIPS | None = None

    @property
    def least(self) -> int:
        """Pixels that a side of an HR picture must have for its figures."""
        inside = metrics.SSIM_WINDOW + 2 * self.scale
        return max(inside, LEAST_SIDE[self.lpips.net]) if self.lpips else inside


@dataclasses.dataclass(frozen=True)
class Row:
    """The figures of a picture, by the names of methods, in the order of the methods."""

    files: Files
    size: tuple[int, int]
    figures: dict[str, dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Result:
    """What a method made of a picture; `own` is a rescaling network's LR picture."""

    files: Files
    pixels: Pixels
    samples: list[np.ndarray]
    own: np.ndarray | None = None


class Evaluation:
    """Methods on pictures. What is kept from before is not computed again.

    Args:
      files: of the pictures; all are read once, to know what is missing and which cannot be used.
      kept: where results go as they are finished.

    Attributes:
      failed: {files: why they have no figures}.
      cropped: how many pictures lost rows or columns, as their sides do not divide by the scale.
    """

    def __init__(
        self, files: Sequence[Files], methods: Sequence[Method], settings: Settings, kept: Kept
    ):
        self._files, self._methods = list(files), list(methods)
        self._settings, self._kept = settings, kept
        self.failed: dict[Files, UserError] = {}
        self.cropped = 0
        self._sizes: dict[Files, tuple[int, int]] = {}
        self._found: dict[tuple[Files, Method], dict[str, float]] = {}
        self._look()

    @property
    def usable(self) -> int:
        """Pictures that could be read."""
        return len(self._sizes)

    @property
    def left(self) -> int:
        """Results, a result being a sample, that are still to be made."""
        return sum(m.samples for m in self._methods for _ in self._missing(m))

    @property
    def total(self) -> int:
        """Results of all pictures that can be used."""
        return len(self._sizes) * sum(method.samples for method in self._methods)

    def run(self, progress: Callable[[int], None] = lambda count: None) -> list[Row]:
        """The figures of all pictures without those that failed.

        `progress` is told how many results were made. UserError where they cannot be kept.
        """
        measure = functools.partial(_measure, self._settings)
        for method in self._methods:
            missing = self._missing(method)
            for result, found, pictures in work.in_order(
                measure, self._results(method, missing), threads=THREADS
            ):
                key = self._key(result.pixels, method)
                name = result.files.hr.name
                self._kept.put(
                    name, method.name, key, found, {} if not method.network else pictures
                )
                self._found[result.files, method] = found
                progress(method.samples)
        return [
            Row(files, size, {m.name: self._found[files, m] for m in self._methods})
            for files, size in self._sizes.items()
            if files not in self.failed
        ]

    def _look(self):
        """Reads all pictures, and takes what is kept of them."""
        of = self._settings
        look = functools.partial(
            pairs.look, scale=of.scale, least=of.least, max_pixels=of.max_pixels
        )
        looked = work.in_order(look, self._files, threads=THREADS)
        bar = work.progress(looked, len(self._files), "reading", delay=2.0)
        for files, pixels in zip(self._files, bar, strict=True):
            if isinstance(pixels, UserError):
                self.failed[files] = pixels
                continue
            self.cropped += pixels.cropped
            self._sizes[files] = pixels.hr.shape[:2]
            for method in self._methods:
                key = self._key(pixels, method)
                found = self._kept.figures(files.hr.name, method.name, key)
                if found is not None:
                    self._found[files, method] = found

    def _key(self, pixels, method):
        """The hash of all that decides the figures of a method on a picture."""
        judge = LPIPS_FILES[self._settings.lpips.net] if self._settings.lpips else None
        facts = [PROTOCOL, hcflow_jax.__version__, self._settings.scale, judge, pixels.digest]
        facts += method.facts(self._settings.seed)
        facts += [self._settings.tile] if method.network else []
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _missing(self, method):
        return [
            files
            for files in self._sizes
            if files not in self.failed and (files, method) not in self._found
        ]

    def _read(self, missing: Iterable[Files]) -> Iterator[tuple[Files, Pixels]]:
        """The pictures; what can no longer be read fails."""
        of = self._settings
        for files in missing:
            pixels = pairs.look(files, of.scale, of.least, of.max_pixels)
            if isinstance(pixels, UserError):
                self.failed[files] = pixels
            else:
                yield files, pixels

    def _results(self, method: Method, missing: Iterable[Files]) -> Iterator[Result]:
        """What a method makes of pictures; what is not finite fails."""
        if method.network is None:
            for files, pixels in self._read(missing):
                large = figures.interpolated(pixels.lr, self._settings.scale)
                yield Result(files, pixels, [large[method.name]])
            return
        samples: list[np.ndarray] = []
        waiting: deque[tuple[Files, Pixels, np.ndarray | None]] = deque()
        for drawn in self._samples(method, missing, waiting):
            samples.append(drawn)
            if len(samples) < method.samples:
                continue
            files, pixels, own = waiting.popleft()
            if all(np.isfinite(sample).all() for sample in samples):
                yield Result(files, pixels, [metrics.to_uint8(x) for x in samples], own)
            else:
                lower = "lower --temperatures or " if method.temperature else ""
                self.failed[files] = UserError(
                    f"{files.hr}: the result of {method.title} is not finite; {lower}use other "
                    "weights"
                )
            samples = []

    def _samples(self, method, missing, waiting) -> Iterator[np.ndarray]:
        """Samples of the network in [0, 1], as many of each picture as the method draws.

        `waiting` gets (files, pixels, the network's own LR picture) of each picture in turn.
        """
        network, tile = method.network, self._settings.tile

        def inputs():
            for files, pixels, own in self._with_lr(method, missing):
                waiting.append((files, pixels, own))
                lr = pixels.lr if own is None else own
                for index in range(method.samples):
                    yield lr.astype(np.float32) / 255, index

        for sample in sampling.sample_all(
            network.model,
            network.params,
            inputs(),
            method.temperature,
            self._settings.seed,
            tile,
            check=False,
            back_project=method.back_project,
        ):
            yield sample.pixels

    def _with_lr(self, method, missing):
        """(files, pixels, None, or a rescaling network's own LR picture in 8 bits)."""
        network, tile = method.network, self._settings.tile
        if network.model.task == "sr":
            for files, pixels in self._read(missing):
                yield files, pixels, None
            return
        waiting: deque[tuple[Files, Pixels]] = deque()

        def hr():
            for files, pixels in self._read(missing):
                waiting.append((files, pixels))
                yield pixels.hr.astype(np.float32) / 255

        for own in sampling.downscale_all(
            network.model, network.params, hr(), tile, refine=method.refine
        ):
            files, pixels = waiting.popleft()
            if np.isfinite(own).all():
                yield files, pixels, metrics.to_uint8(own)
            else:
                self.failed[files] = UserError(
                    f"{files.hr}: the small picture of {network.label} is not finite; use other "
                    "weights"
                )


def _measure(settings: Settings, result: Result):
    """(result, its figures, the pictures to keep of it)."""
    hr, lr = result.pixels.hr, result.pixels.lr
    found = figures.measure(result.samples, hr, lr, settings.scale, settings.lpips)
    pictures = {"": result.samples[0]}
    if len(result.samples) > 1:
        spread = metrics.deviation(result.samples).mean(-1)
        pictures["spread"] = np.clip(np.rint(SPREAD_GAIN * spread), 0, 255).astype(np.uint8)
    if result.own is not None:
        found |= {f"{name}_own": value for name, value in figures.of_lr(result.own, lr).items()}
        pictures["small"] = result.own
    return result, found, pictures
