"""The flow: encode, decode, sample. One implementation for any depth and both tasks."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from hcflow_jax import bijectors
from hcflow_jax.bijectors.base import Params
from hcflow_jax.bijectors.guard import clamp, unbounded, widen
from hcflow_jax.errors import UserError
from hcflow_jax.images.resize import bicubic
from hcflow_jax.model.architecture import Architecture
from hcflow_jax.model.likelihood import likelihood, log_density
from hcflow_jax.model.prior import gaussian_logp


@flax.struct.dataclass
class Encoding:
    """What `HCFlow.encode` returns; B images, L levels, finest level first.

    Attributes:
      lr: [B, h, w, C] the LR image, raw: neither clamped nor rounded.
      latents: L arrays, standardised: N(0, 1) given the LR image if the model is right.
      log_det: [B] nats, log|det| of HR -> (LR, latents before standardisation).
      log_prior: [L, B] nats, log p(latents before standardisation | LR) per level.
    """

    lr: jax.Array
    latents: tuple[jax.Array, ...]
    log_det: jax.Array
    log_prior: jax.Array


@dataclasses.dataclass(frozen=True)
class HCFlow(Architecture):
    """HR image <-> LR image + Gaussian latents; L levels, scale 2^L.

    Encode: z ← HR; for every level, finest first: squeeze, unconditional flow steps, split into
    the part that goes on and a_l. The last part that goes on, image_channels wide, is the LR
    image. Each a_l passes conditional flow steps and a Gaussian prior, both given features of the
    coarser parts. Decode is the exact inverse. Fields are those of `Architecture`. (HCFlow,
    section 3, figure 2.)
    """

    def init(self, rng: jax.Array, hr: jax.Array) -> Params:
        """Fresh parameters with every ActNorm set from the batch `hr` [B, H, W, C] in [0, 1]."""
        return jax.jit(self.data_init)(jax.jit(self.init_params)(rng), hr)

    def init_params(self, rng: jax.Array) -> Params:
        """Fresh parameters, ActNorms at zero: {"level0": {"flow", "trunk", …}, …}."""
        params = {}
        for i, level in enumerate(self.levels):
            keys = jax.random.split(jax.random.fold_in(rng, i), 4)
            dummy = jnp.zeros((1, 2, 2, level.cond_channels), jnp.float32)
            params[f"level{i}"] = {
                "flow": level.flow.init(keys[0]),
                "trunk": level.trunk.init(keys[1], dummy)["params"],
                "conditional": level.conditional.init(keys[2]),
                "prior": level.prior.init(keys[3]),
            }
            if self.guard:
                widths = {"input": level.cond_channels, "features": level.prior.cond_channels}
                ranges = {name: unbounded(width) for name, width in widths.items()}
                params[f"level{i}"]["guard"] = ranges
        return params

    def data_init(self, params: Params, hr: jax.Array, axis_name: str | None = None) -> Params:
        """`params` with every ActNorm set from what reaches it when `hr` is encoded.

        Under `pmap` or `shard_map`, `hr` is a device's shard of the batch and `axis_name` the
        mapped axis: every device returns the statistics of the whole batch.
        """
        fit = functools.partial(bijectors.fit_actnorm, axis_name=axis_name)
        method = functools.partial(_data_init, fit=fit)
        return self._visit(method, self._features, params, hr)

    def observe(self, params: Params, hr: jax.Array) -> Params:
        """`params` whose guard also holds all that it guards when `hr` [B, H, W, C] is encoded."""
        return self._visit(_observe, self._observed_features, params, hr)

    def _visit(self, method, features_of, params, hr):
        """`params` with those of every part as `method(part, its params, x, cond)` changes them.

        Parts are met as `encode` meets them; methods return (params, what the part makes of x).
        """
        self._check_hr(hr)
        params = {name: dict(level) for name, level in params.items()}
        z, kept, split_off, coarser = hr, [], [], []
        for i, level in enumerate(self.levels):
            weights = params[f"level{i}"]
            z, _ = level.squeeze.forward({}, z)
            weights["flow"], z = method(level.flow, weights["flow"], z, None)
            (z, a), _ = level.split.forward({}, z)
            kept.append(z)
            split_off.append(a)
        for i in self._deepest_first:
            level, weights = self.levels[i], params[f"level{i}"]
            features = features_of(params, i, kept[i], coarser)
            weights["conditional"], a = method(
                level.conditional, weights["conditional"], split_off[i], features
            )
            weights["prior"], _ = method(level.prior, weights["prior"], a, features)
            coarser = [features, *coarser]
        return params

    def prepare(self, params: Params) -> Params:
        """`params` with the inverses of the 1×1 convolutions, computed in float64 on the host.

        For sampling, not for training: the inverses do not follow the weights.
        """
        return {
            f"level{i}": {
                **params[f"level{i}"],
                "flow": level.flow.prepare(params[f"level{i}"]["flow"]),
                "conditional": level.conditional.prepare(params[f"level{i}"]["conditional"]),
            }
            for i, level in enumerate(self.levels)
        }

    @property
    def _deepest_first(self):
        return reversed(range(len(self.levels)))

    def _features(self, params, i, y, coarser):
        """u_i = trunk_i(concat(y, up_2(u_{i+1}), up_4(u_{i+2}), …)), u_{i+1}, … = `coarser`.

        What goes in and what comes out is clamped to the guard's ranges, where there are some.
        """
        weights = params[f"level{i}"]
        ranges = weights.get("guard", {})
        c = clamp(_trunk_input(y, coarser), ranges.get("input"))
        features = self.levels[i].trunk.apply({"params": weights["trunk"]}, c)
        return clamp(features, ranges.get("features"))

    def _observed_features(self, params, i, y, coarser):
        """`_features` without clamps; the ranges in params[level i] are widened to hold them."""
        weights, c = params[f"level{i}"], _trunk_input(y, coarser)
        features = self.levels[i].trunk.apply({"params": weights["trunk"]}, c)
        met = {"input": c, "features": features}
        weights["guard"] = {name: widen(weights["guard"][name], x) for name, x in met.items()}
        return features

    def encode(self, params: Params, hr: jax.Array) -> Encoding:
        """HR [B, H, W, C] in [0, 1] -> LR image and latents, with the likelihood's terms apart.

        ValueError when H or W does not divide by the scale or C is not image_channels.
        """
        self._check_hr(hr)
        z, kept, split_off, coarser = hr, [], [], []
        log_det = jnp.zeros(hr.shape[0], hr.dtype)
        for i, level in enumerate(self.levels):
            parts = [(level.squeeze, {}), (level.flow, params[f"level{i}"]["flow"])]
            z, log_det_flow = bijectors.fold_forward(parts, z)
            (z, a), _ = level.split.forward({}, z)
            log_det = log_det + log_det_flow
            kept.append(z)
            split_off.append(a)
        latents, log_priors = [], []
        for i in self._deepest_first:
            level, weights = self.levels[i], params[f"level{i}"]
            features = self._features(params, i, kept[i], coarser)
            a, log_det_cond = level.conditional.forward(
                weights["conditional"], split_off[i], features
            )
            latent, log_det_prior = level.prior.forward(weights["prior"], a, features)
            log_det = log_det + log_det_cond
            latents = [latent, *latents]
            log_priors = [gaussian_logp(latent) + log_det_prior, *log_priors]
            coarser = [features, *coarser]
        return Encoding(z, tuple(latents), log_det, jnp.stack(log_priors))

    def log_prob(self, params: Params, hr: jax.Array, lr: jax.Array | None = None) -> jax.Array:
        """log p(hr, lr) = log_det + Σ_l log_prior_l + log N(LR_raw; lr, e^−6): [B] nats.

        The density of dequantised images in [0, 1]; `model.likelihood` has the terms apart, and
        bits per dimension.

        Args:
          hr: [B, H, W, C]; lr: [B, h, w, C], the MATLAB-bicubic LR of `hr` when not given.

        ValueError when `encode` cannot take `hr`, or `lr` is not of its size.
        """
        self._check_hr(hr)
        if lr is None:
            lr = bicubic(hr, down=self.scale)
        return log_density(likelihood(self, params, hr, lr, quant=1))

    def decode(self, params: Params, lr: jax.Array, latents) -> jax.Array:
        """LR [B, h, w, C] and latents (finest level first) -> HR, raw: inverse of `encode`.

        With B = 1 the latents may be those of any number N of images: [N, H, W, C] results, for
        which what depends on the LR image alone is computed once.

        ValueError when the latents are not those of `latent_shapes(lr.shape)`.
        """
        images = latents[0].shape[:1] if lr.shape[:1] == (1,) and len(latents) else lr.shape[:1]
        expected = self.latent_shapes((*images, *lr.shape[1:]))
        found = [tuple(latent.shape) for latent in latents]
        if found != expected:
            raise ValueError(f"an LR image of {lr.shape} needs latents {expected}, got {found}")
        y, coarser = lr, []
        for i in self._deepest_first:
            level, weights = self.levels[i], params[f"level{i}"]
            coarser = [self._features(params, i, y, coarser), *coarser]
            y, features = _for_each(latents[i], y), _for_each(latents[i], coarser[0])
            a, _ = level.prior.inverse(weights["prior"], latents[i], features)
            a, _ = level.conditional.inverse(weights["conditional"], a, features)
            z, _ = level.split.inverse({}, (y, a))
            y, _ = bijectors.fold_inverse([(level.squeeze, {}), (level.flow, weights["flow"])], z)
        return y

    def latent_shapes(self, lr_shape) -> list[tuple[int, ...]]:
        """Shapes of the latents of LR images [B, h, w, C], finest level first."""
        if len(lr_shape) != 4 or lr_shape[-1] != self.image_channels:
            raise ValueError(
                f"an LR image must be [B, h, w, {self.image_channels}], got {tuple(lr_shape)}"
            )
        b, h, w, _ = lr_shape
        return [
            (b, h * 2**up, w * 2**up, level.prior.channels)
            for up, level in zip(reversed(range(len(self.levels))), self.levels, strict=True)
        ]

    def draw_latents(
        self, rng: jax.Array, lr: jax.Array, temperature, samples: int = 1
    ) -> list[jax.Array]:
        """τ·N(0, 1) in the shapes that `decode` wants for `samples` of `lr`; see `sample`."""
        if samples != 1 and lr.shape[0] != 1:
            raise ValueError(f"{samples} samples can be of one LR image, got {lr.shape[0]}")
        return [
            temperature * jax.random.normal(jax.random.fold_in(rng, i), shape, lr.dtype)
            for i, shape in enumerate(self.latent_shapes((samples * lr.shape[0], *lr.shape[1:])))
        ]

    def sample(
        self, params: Params, rng: jax.Array, lr: jax.Array, temperature, samples: int = 1
    ) -> jax.Array:
        """decode(lr, e), e ~ N(0, τ²), clamped to [0, 1]; τ = 0 decodes the prior's means.

        One of each LR image [B, h, w, C] -> [B, H, W, C], or `samples` of a single one, B = 1 ->
        [samples, H, W, C], for which the coarsest features are computed once. ValueError when
        several samples of several images are asked for.
        """
        hr = self.decode(params, lr, self.draw_latents(rng, lr, temperature, samples))
        return jnp.clip(hr, 0.0, 1.0)

    def _check_hr(self, hr):
        if hr.ndim != 4 or hr.shape[-1] != self.image_channels:
            raise ValueError(
                f"an HR image must be [B, H, W, {self.image_channels}], got {tuple(hr.shape)}"
            )
        if not jnp.issubdtype(hr.dtype, jnp.floating):
            raise ValueError(f"an HR image must be of floats in [0, 1], got {hr.dtype}")
        if hr.shape[1] % self.scale or hr.shape[2] % self.scale:
            raise ValueError(
                f"HR height and width must divide by {self.scale}, got {hr.shape[1]}×{hr.shape[2]}"
            )


def _data_init(part, params, x, cond, *, fit):
    return part.data_init(params, x, cond, fit=fit)


def _observe(part, params, x, cond):
    return part.observe(params, x, cond)


def _trunk_input(y, coarser):
    """concat(y, up_2(coarser[0]), up_4(coarser[1]), …)."""
    ups = [_for_each(y, _upsample(f, 2 ** (n + 1))) for n, f in enumerate(coarser)]
    return jnp.concatenate([y, *ups], -1)


def _for_each(like, x):
    """x, [1 or B, …], repeated to the batch size B of `like`."""
    return jnp.broadcast_to(x, like.shape[:1] + x.shape[1:])


def _upsample(x, factor):
    return jnp.repeat(jnp.repeat(x, factor, axis=1), factor, axis=2)


def build_model(config: Mapping[str, Any]) -> HCFlow:
    """The model of `config`, {field of HCFlow: value}, where lists stand for tuples.

    UserError naming a field that is unknown or out of range.
    """
    known = [field.name for field in dataclasses.fields(HCFlow)]
    unknown = sorted(set(config) - set(known))
    if unknown:
        raise UserError(f"unknown model field {unknown[0]!r}; known fields: {', '.join(known)}")
    return HCFlow(**{name: _tuples(value) for name, value in dict(config).items()})


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
