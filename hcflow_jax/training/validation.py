"""Validation during training: likelihood, fidelity and diversity at every temperature."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from hcflow_jax import checkpoints, devices
from hcflow_jax.evaluation import figures as measured
from hcflow_jax.evaluation.lpips import LPIPS
from hcflow_jax.images import jpeg, metrics
from hcflow_jax.model import HCFlow, dequantization
from hcflow_jax.training import losses, seeds
from hcflow_jax.training.sections import RescalingLoss, SRLoss

Images = dict[str, np.ndarray]

_SAMPLES = "validation samples"

QUALITIES = 50, 70, 90
"""Of the JPEGs as which LR images are saved, where the training knows such."""

DEVIATION_GAIN = 8
"""What the standard deviation of samples is multiplied by to be seen."""


def centre_crops(source, count: int, size: int) -> list[dict[str, np.ndarray]]:
    """The centre crops, uint8, of the first `count` pairs of a source.

    Args:
      size: side in HR pixels, a multiple of the scale; smaller images, or 0, stay whole.
    """
    pairs = []
    for index in range(min(count, len(source))):
        pair, scale = source.pair(index), source.scale
        height, width, _ = pair["lr"].shape
        tall, wide = (min(side, size // scale) if size else side for side in (height, width))
        top, left = (height - tall) // 2, (width - wide) // 2
        lr = pair["lr"][top : top + tall, left : left + wide]
        top, left = top * scale, left * scale
        hr = pair["hr"][top : top + tall * scale, left : left + wide * scale]
        pairs.append({"hr": hr, "lr": lr})
    return pairs


def _likelihood(model, loss, params, rng, hr, lr):
    """{"nll", "bits_per_dim"} of one image [H, W, C] and its LR image."""
    noise = dequantization.noise(loss.dequantization, rng, hr.shape, hr.dtype, loss.quant)
    terms = losses.likelihood(model, params, hr[None] + noise[None], lr[None], loss.quant)
    return {"nll": losses.nll(terms), "bits_per_dim": losses.bits_per_dim(terms)}


def _downscale(model, params, hr):
    """The rescaling model's LR image [h, w, C], rounded to 8 bits, of one HR image."""
    return losses.quantize(jnp.clip(model.encode(params, hr[None]).lr, 0, 1))[0]


def _sample_one(model, loss, params, rng, lr, temperature):
    """A sample [H, W, C] of one LR image [h, w, C], without the mean of published noise."""
    params = checkpoints.unbiased(model, params, dataclasses.asdict(loss))
    return model.sample(params, rng, lr[None], temperature)[0]


def _as_jpeg(params, lr, quality):
    """One LR image [h, w, C] after it was saved as a JPEG."""
    del params
    return jpeg.compress(lr[None], quality)[0]


class Validation:
    """The figures of a model on some images, by the protocol of super-resolution papers.

    Every device takes one image at a time, every process a part of them; all must call it.

    Args:
      model: of either task; a rescaling model's samples start from its own LR image, rounded.
      pairs: uint8 {"hr", "lr"}, the same on every process; one compilation per size.
      temperatures: to sample at.
      samples: per image and temperature, where that is not 0.
      loss: of the training, which says its dequantisation noise (SR).
      lpips: measures that too.
      spread: how the parameters are replicated, by `pmap` if None.
    """

    def __init__(
        self,
        model: HCFlow,
        pairs: Sequence[Images],
        temperatures: Sequence[float],
        samples: int,
        loss: SRLoss | RescalingLoss,
        lpips: LPIPS | None = None,
        spread: devices.Spread | None = None,
    ):
        spread = spread or devices.spread()
        self._model, self._pairs, self._lpips = model, list(pairs), lpips
        self._bicubic: dict[int, dict[str, float]] = {}
        self._temperatures, self._samples = tuple(temperatures), samples
        self._map_likelihood = spread.mapped(functools.partial(_likelihood, model, loss))
        self._map_downscale = spread.mapped(functools.partial(_downscale, model))
        self._map_sample = spread.mapped(functools.partial(_sample_one, model, loss))
        self._map_jpeg = spread.mapped(_as_jpeg)
        self._qualities = QUALITIES if getattr(loss, "jpeg_share", 0) else ()

    @property
    def metric(self) -> str:
        """The figure that selects the best checkpoint: PSNR-Y at the first temperature."""
        return f"psnr_y@{self._temperatures[0]:g}"

    def fingerprint(self, seed: int) -> str:
        """16 hex digits of all that `metric` depends on beside the parameters."""
        drawn = [self._samples, seeds.number(seed, _SAMPLES)] if self._temperatures[0] else []
        facts = [self._model.task, self._model.scale, self.metric, *drawn]
        found = hashlib.sha256(json.dumps(facts).encode())
        for pair in self._pairs:
            for name in ("hr", "lr"):
                found.update(repr(pair[name].shape).encode() + pair[name].tobytes())
        return found.hexdigest()[:16]

    def __call__(
        self, params, seed: int, poll: Callable[[], None] = lambda: None
    ) -> tuple[dict[str, float], Images]:
        """(figures, pictures) for replicated parameters.

        `poll` is called before every image and sample; what it raises ends the validation.

        Figures: "nll" and "bits_per_dim" (SR), "lr_psnr_own" (rescaling: the model's LR against
        the bicubic), those of `evaluation.figures.fidelity` per temperature, as "psnr_y@τ", and
        of the LR image's bicubic enlargement, as "psnr_y@bicubic"; and, with several samples,
        those of `evaluation.figures.diversity`. Where LR images are saved as JPEGs in training,
        those figures of JPEGs too, of QUALITIES, at the first temperature: "psnr_y@jpeg 90",
        "psnr_y@bicubic, jpeg 90". Pictures, of the first image: "lr", "hr", "sample@τ" and, with
        several samples, "spread@τ", their standard deviation times 8.
        """
        total, pictures = {}, {}
        for group in self._groups():
            for figures, shown, (index, counts) in self._evaluate(params, seed, group, poll):
                if index == 0:
                    pictures = shown
                for name, value in figures.items():
                    total[name] = total.get(name, 0.0) + counts * value / len(self._pairs)
        names = sorted(total)
        values = np.array([total[name] for name in names], np.float64)
        if jax.process_count() > 1:
            values = np.sum(multihost_utils.process_allgather(values), 0)
        return dict(zip(names, map(float, values), strict=True)), pictures

    def _groups(self):
        """Yields groups of (image number, whether it counts), one per local device.

        The images of a group have one size; `devices.shares` fills groups up.
        """
        sizes = {}
        for index, pair in enumerate(self._pairs):
            sizes.setdefault(pair["hr"].shape, []).append(index)
        for indices in sizes.values():
            yield from devices.shares(indices)

    def _evaluate(self, params, seed, group, poll):
        """Yields (figures, pictures, (image number, whether it counts)) of a group's images."""
        pairs = [self._pairs[index] for index, _ in group]
        hr, lr = (np.stack([p[k] for p in pairs]).astype(np.float32) / 255 for k in ("hr", "lr"))
        indices = [index for index, _ in group]
        scores: dict[str, np.ndarray] = {}
        if self._model.task == "sr":
            keys = _keys(seeds.key(seed, "validation likelihood"), indices)
            scores = self._map_likelihood(params, keys, hr, lr)
        else:
            lr = self._map_downscale(params, hr)
        sampled = {}
        for tau in self._temperatures:
            drawn = self._drawn(params, seed, indices, lr, tau, poll)
            sampled[f"{tau:g}"] = metrics.to_uint8(np.stack(list(drawn), 1))
        for quality in self._qualities:
            saved = self._map_jpeg(params, lr, _on_all_devices(quality, np.int32))
            drawn = self._drawn(params, seed, indices, saved, self._temperatures[0], poll)
            sampled[f"jpeg {quality}"] = metrics.to_uint8(np.stack(list(drawn), 1))
        scores, lr = (
            {k: devices.local_shards(v) for k, v in scores.items()},
            metrics.to_uint8(devices.local_shards(lr)),
        )
        for d, member in enumerate(group):
            figures = {name: float(values[d]) for name, values in scores.items()}
            samples = {kind: images[d] for kind, images in sampled.items()}
            figures |= self._of_bicubic(member[0])
            yield *self._complete(figures, pairs[d], lr[d], samples), member

    def _drawn(self, params, seed, indices, lr, tau, poll):
        """Yields the samples, one per device, of LR images at a temperature."""
        for k in range(self._samples if tau else 1):
            poll()
            key = jax.random.fold_in(seeds.key(seed, _SAMPLES), k)
            keys, heat = _keys(key, indices), _on_all_devices(tau)
            yield devices.local_shards(self._map_sample(params, keys, lr, heat))

    def _of_bicubic(self, index):
        """{figure@bicubic: value} of the enlarged LR image of pair `index`; measured once."""
        if index not in self._bicubic:
            hr, lr = (self._pairs[index][name] for name in ("hr", "lr"))
            small = {"bicubic": lr}
            for quality in self._qualities:
                saved = _as_jpeg(None, jnp.asarray(lr, jnp.float32) / 255, quality)
                small[f"bicubic, jpeg {quality}"] = metrics.to_uint8(np.asarray(saved))
            found = {}
            for kind, saved in small.items():
                enlarged = measured.interpolated(saved, self._model.scale)["bicubic"]
                figures = measured.fidelity(enlarged, hr, lr, self._model.scale, self._lpips)
                found |= {f"{name}@{kind}": value for name, value in figures.items()}
            self._bicubic[index] = found
        return self._bicubic[index]

    def _complete(self, figures, pair, lr, sampled):
        """(figures and those of the samples, pictures) of one image; sampled: [N, H, W, 3] each."""
        pictures = {"lr": lr, "hr": pair["hr"]}
        if self._model.task == "rescaling":
            own = metrics.psnr(lr, pair["lr"])
            figures["lr_psnr_own"] = min(own, measured.PSNR_CEILING)
        for kind, samples in sampled.items():
            scale, hr = self._model.scale, pair["hr"]
            found = measured.measure(samples, hr, pair["lr"], scale, self._lpips)
            pictures[f"sample@{kind}"] = samples[0]
            if len(samples) > 1:
                deviation = metrics.deviation(samples).mean(-1)
                shown = np.clip(DEVIATION_GAIN * deviation, 0, 255)
                pictures[f"spread@{kind}"] = shown.astype(np.uint8)
            figures |= {f"{name}@{kind}": value for name, value in found.items()}
        return figures, pictures


def _keys(key, indices):
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(np.array(indices))


def _on_all_devices(value, dtype=np.float32):
    return np.full(devices.local_count(), value, dtype)
