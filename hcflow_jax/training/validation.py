"""Validation during training: likelihood, fidelity and diversity at every temperature."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize
from hcflow_jax.model import HCFlow
from hcflow_jax.training import losses, parallel

Images = dict[str, np.ndarray]


def centre_crops(source, count: int, size: int) -> list[dict[str, np.ndarray]]:
    """The first `count` pairs of a source as uint8, cropped about their centres.

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


def _score(model, quant, params, rng, hr, lr):
    """{"nll", "bits_per_dim"} of one image."""
    noise = jax.random.uniform(rng, hr.shape, hr.dtype) / quant
    terms = losses.likelihood(model, params, hr[None] + noise[None], lr[None], quant)
    return {"nll": losses.nll(terms), "bits_per_dim": losses.bits_per_dim(terms)}


def _downscale(model, params, hr):
    return losses.quantize(jnp.clip(model.encode(params, hr[None]).lr, 0, 1))[0]


def _sample(model, params, rng, lr, temperature):
    return model.sample(params, rng, lr[None], temperature)[0]


def _fidelity(samples: np.ndarray, pair: Images, scale: int) -> dict[str, float]:
    """Means over samples [N, H, W, 3] of the protocol's figures against a pair; all uint8."""
    hr, lr = pair["hr"], pair["lr"]
    found = {
        "psnr": [metrics.psnr(x, hr, scale) for x in samples],
        "ssim": [metrics.ssim(x, hr, scale) for x in samples],
        "psnr_y": [metrics.psnr_y(x, hr, scale) for x in samples],
        "ssim_y": [metrics.ssim_y(x, hr, scale) for x in samples],
        "lr_psnr": [metrics.psnr(imresize(x, 1 / scale), lr) for x in samples],
    }
    return {name: float(np.mean(np.minimum(values, 100.0))) for name, values in found.items()}


class Validation:
    """The figures of a model on some images, by the protocol of evaluation.

    Every device takes one image at a time, every process its share of them; all must call it.

    Args:
      model: of either task; a rescaling model's samples start from its own LR image, rounded.
      pairs: uint8 {"hr", "lr"}, the same on every process; images of a size compile once.
      temperatures: to sample at; `samples`: how many times, where the temperature is not 0.
      quant: of the likelihood (SR).
    """

    def __init__(
        self,
        model: HCFlow,
        pairs: Sequence[Images],
        temperatures: Sequence[float],
        samples: int,
        quant: int,
    ):
        self._model, self._pairs = model, list(pairs)
        self._temperatures, self._samples = tuple(temperatures), samples
        self._map_score = _mapped(functools.partial(_score, model, quant))
        self._map_downscale = _mapped(functools.partial(_downscale, model))
        self._map_sample = _mapped(functools.partial(_sample, model))

    def __call__(self, params, seed: int) -> tuple[dict[str, float], Images]:
        """(figures, pictures) for replicated parameters.

        Figures: "nll" and "bits_per_dim" (SR), "lr_psnr_own" (rescaling: the model's LR against
        the bicubic), and per temperature "psnr@τ", "ssim@τ", "psnr_y@τ", "ssim_y@τ", "lr_psnr@τ"
        and "diversity@τ"; dB above 100 count as 100. Pictures of the first image: "lr", "hr",
        "sample@τ" and, with several samples, "spread@τ", their standard deviation times 8.
        """
        total, pictures = {}, {}
        for indices in self._turns():
            for figures, shown, (index, counts) in self._turn(params, seed, indices):
                if index == 0:
                    pictures = shown
                for name, value in figures.items():
                    total[name] = total.get(name, 0.0) + counts * value / len(self._pairs)
        names = sorted(total)
        values = np.array([total[name] for name in names], np.float64)
        if jax.process_count() > 1:
            values = np.sum(multihost_utils.process_allgather(values), 0)
        return dict(zip(names, map(float, values), strict=True)), pictures

    def _turns(self):
        """Groups of (image number, whether it counts), one per local device.

        A group's images have one size, every process has as many groups, and an image is repeated
        where there are more devices.
        """
        sizes = {}
        for index, pair in enumerate(self._pairs):
            sizes.setdefault(pair["hr"].shape, []).append(index)
        devices, local = jax.device_count(), jax.local_device_count()
        first = jax.process_index() * local
        for indices in sizes.values():
            for start in range(0, len(indices), devices):
                group = indices[start : start + devices]
                padded = [(i, True) for i in group] + [(group[0], False)] * (devices - len(group))
                yield padded[first : first + local]

    def _turn(self, params, seed, turn):
        """Yields (figures, pictures, (image number, whether it counts)) of a group's images."""
        pairs = [self._pairs[index] for index, _ in turn]
        hr, lr = (np.stack([p[k] for p in pairs]).astype(np.float32) / 255 for k in ("hr", "lr"))
        indices = [index for index, _ in turn]
        common: dict[str, np.ndarray] = {}
        if self._model.task == "sr":
            common = self._map_score(params, _keys(seed, indices), hr, lr)
        else:
            lr = self._map_downscale(params, hr)
        sampled = {}
        for tau in self._temperatures:
            times = self._samples if tau else 1
            drawn = [
                self._map_sample(params, _keys(seed + 1 + k, indices), lr, _on_all(tau))
                for k in range(times)
            ]
            sampled[tau] = metrics.to_uint8(np.stack([parallel.shares(x) for x in drawn], 1))
        common, lr = (
            {k: parallel.shares(v) for k, v in common.items()},
            metrics.to_uint8(parallel.shares(lr)),
        )
        for d, place in enumerate(turn):
            own = {name: float(values[d]) for name, values in common.items()}
            samples = {tau: images[d] for tau, images in sampled.items()}
            yield *self._image(own, pairs[d], lr[d], samples), place

    def _image(self, figures, pair, lr, sampled):
        pictures = {"lr": lr, "hr": pair["hr"]}
        if self._model.task == "rescaling":
            figures["lr_psnr_own"] = min(metrics.psnr(lr, pair["lr"]), 100.0)
        for tau, samples in sampled.items():
            own = _fidelity(samples, pair, self._model.scale)
            figures |= {f"{name}@{tau:g}": value for name, value in own.items()}
            pictures[f"sample@{tau:g}"] = samples[0]
            if len(samples) > 1:
                figures[f"diversity@{tau:g}"] = metrics.diversity(samples)
                spread = np.std(samples.astype(np.float64), 0, ddof=1).mean(-1)
                pictures[f"spread@{tau:g}"] = np.clip(8 * spread, 0, 255).astype(np.uint8)
        return figures, pictures


def _mapped(function: Callable):
    return jax.pmap(function, axis_name=parallel.AXIS)


def _keys(seed, indices):
    base = jax.random.key(seed)
    return jax.vmap(lambda i: jax.random.fold_in(base, i))(np.array(indices))


def _on_all(value):
    return np.full(jax.local_device_count(), value, np.float32)
