"""The hierarchy: one implementation for any depth and both tasks. (HCFlow, section 3, figure 2.)"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp

from hcflow_jax import bijectors
from hcflow_jax.bijectors import Bijector
from hcflow_jax.bijectors.base import Params
from hcflow_jax.model.networks import FCN, DenseBlock, FeatureTrunk
from hcflow_jax.model.prior import ConditionalGaussian, gaussian_logp


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


_CHOICES = {
    "task": ("sr", "rescaling"),
    "squeeze": ("checkerboard", "haar"),
    "coupling": ("affine", "shift"),
    "permutation": ("conv1x1", "none"),
    "net": ("fcn", "dense_block"),
    "dtype": ("float32", "bfloat16"),
    "remat": (False, True),
    "reversible": (False, True),
}

EXECUTION = ("dtype", "remat", "reversible")
"""Fields that change how the same map is computed, not which map it is."""


def _check_counts(name, value, least):
    if not isinstance(value, tuple) or any(type(v) is not int or v < least for v in value):
        raise ValueError(f"{name} must count at least {least}, in whole numbers; got {value!r}")


@dataclasses.dataclass(frozen=True)
class Level:
    """One level: squeeze, unconditional steps, split, and what the split-off part goes through."""

    squeeze: Bijector
    flow: bijectors.Chain
    split: bijectors.ChannelSplit
    trunk: FeatureTrunk
    conditional: bijectors.Chain
    prior: ConditionalGaussian
    cond_channels: int


@dataclasses.dataclass(frozen=True)
class HCFlow:
    """HR image <-> LR image + Gaussian latents; L = len(steps) levels, scale 2^L.

    Encode: z ← HR; for every level, finest first: squeeze, unconditional flow steps, split into
    the part that goes on and a_l. The last part that goes on, image_channels wide, is the LR
    image. Each a_l passes conditional flow steps and a Gaussian prior, both given features of the
    coarser parts. Decode is the exact inverse.

    Args:
      task: "sr" (prior with free scale, features of both trunks) or "rescaling" (bounded scale,
        features of the last trunk).
      steps: K_l, all flow steps of level l, finest first.
      conditional_steps: M_l ≤ K_l, how many of them are conditional.
      hidden: width of the unconditional couplings' networks (a dense block's growth).
      conditional_hidden: width of the conditional couplings' FCNs.
      blocks, features, growth: RRDBs in the two trunks of a level, their channels and growth.
      image_channels: 3 for RGB, 1 for grey.
      squeeze: "checkerboard" or "haar".
      coupling: of the unconditional steps; "affine", or "shift", which keeps the first
        image_channels apart and alternates affine and additive steps.
      permutation: "conv1x1" or "none" in the unconditional steps.
      net: "fcn" or "dense_block" in the unconditional couplings.
      dtype: what the networks' convolutions compute in, "float32" or "bfloat16"; parameters, the
        image, log-determinants and 1×1 convolutions stay float32.
      remat: gradients compute the inside of flow steps and RRDBs again instead of keeping it:
        less memory, more time.
      reversible: gradients compute the inputs of flow steps back from their outputs, by the
        inverse: memory does not grow with the number of steps.

    Raises ValueError, naming the field and its value, when one does not make sense.
    """

    task: Literal["sr", "rescaling"] = "sr"
    steps: tuple[int, ...] = (26, 26)
    conditional_steps: tuple[int, ...] = (13, 13)
    hidden: int = 64
    conditional_hidden: int = 64
    blocks: tuple[int, int] = (7, 7)
    features: int = 64
    growth: int = 32
    image_channels: int = 3
    squeeze: Literal["checkerboard", "haar"] = "checkerboard"
    coupling: Literal["affine", "shift"] = "affine"
    permutation: Literal["conv1x1", "none"] = "conv1x1"
    net: Literal["fcn", "dense_block"] = "fcn"
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: bool = False
    reversible: bool = False

    def __post_init__(self):
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        for name in ("hidden", "conditional_hidden", "features", "growth", "image_channels"):
            _check_counts(name, (getattr(self, name),), least=1)
        _check_counts("blocks", self.blocks, least=1)
        _check_counts("steps", self.steps, least=0)
        _check_counts("conditional_steps", self.conditional_steps, least=0)
        if len(self.blocks) != 2:
            raise ValueError(f"blocks must count the RRDBs of two trunks, got {self.blocks}")
        if not self.steps or len(self.steps) != len(self.conditional_steps):
            raise ValueError(
                "steps and conditional_steps need one entry per level, "
                f"got {self.steps} and {self.conditional_steps}"
            )
        if any(m > k for k, m in zip(self.steps, self.conditional_steps, strict=True)):
            raise ValueError(
                f"conditional_steps {self.conditional_steps} exceed steps {self.steps}"
            )

    @property
    def scale(self) -> int:
        """2^L."""
        return 2 ** len(self.steps)

    @property
    def cycle(self) -> int:
        """How many kinds of unconditional step take turns."""
        return 2 if self.coupling == "shift" else 1

    @property
    def _dtype(self):
        return jnp.bfloat16 if self.dtype == "bfloat16" else None

    @functools.cached_property
    def levels(self) -> tuple[Level, ...]:
        """The parts of every level, finest first."""
        depth, levels, channels = len(self.steps), [], self.image_channels
        widths = [2 * self.image_channels * 2**i for i in range(depth - 1)] + [self.image_channels]
        feature_width = self.features * (2 if self.task == "sr" else 1)
        both, bounded = self.task == "sr", self.task == "rescaling"
        trunk = FeatureTrunk(self.blocks, self.features, self.growth, both, self._dtype, self.remat)
        saving = self.remat, self.reversible
        for i, keep in enumerate(widths):
            channels *= 4
            unconditional = self.steps[i] - self.conditional_steps[i]
            rest = channels - keep
            conditional = bijectors.flow_step(
                bijectors.AffineCoupling(
                    rest,
                    rest // 2,
                    FCN(self.conditional_hidden, 2 * (rest - rest // 2), self._dtype),
                    feature_width,
                )
            )
            levels.append(
                Level(
                    squeeze=bijectors.HaarSqueeze()
                    if self.squeeze == "haar"
                    else bijectors.CheckerboardSqueeze(),
                    flow=bijectors.alternate(self._cycle(channels), unconditional, *saving),
                    split=bijectors.ChannelSplit(keep),
                    trunk=trunk,
                    conditional=bijectors.alternate(
                        (conditional,), self.conditional_steps[i], *saving
                    ),
                    prior=ConditionalGaussian(rest, feature_width, bounded, self._dtype),
                    cond_channels=keep + feature_width * (depth - 1 - i),
                )
            )
            channels = keep
        return tuple(levels)

    def _cycle(self, channels: int) -> tuple[Bijector, ...]:
        def step(kind, split, outputs):
            if self.net == "fcn":
                net = FCN(self.hidden, outputs, dtype=self._dtype)
            else:
                net = DenseBlock(self.hidden, outputs, dtype=self._dtype)
            return bijectors.flow_step(
                kind(channels, split, net), permute=self.permutation == "conv1x1"
            )

        if self.coupling == "affine":
            split = channels // 2
            return (step(bijectors.AffineCoupling, split, 2 * (channels - split)),)
        split = self.image_channels
        return (
            step(bijectors.AffineCoupling, split, 2 * (channels - split)),
            step(bijectors.ShiftCoupling, split, split),
        )

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
        return params

    def data_init(self, params: Params, hr: jax.Array, axis_name: str | None = None) -> Params:
        """`params` with every ActNorm set from what reaches it when `hr` is encoded.

        Under `pmap` or `shard_map`, `hr` is a device's share of the batch and `axis_name` the
        mapped axis: every device returns the statistics of the whole batch.
        """
        fit = functools.partial(bijectors.fit_actnorm, axis_name=axis_name)
        self._check_hr(hr)
        params = {name: dict(level) for name, level in params.items()}
        z, kept, rests = hr, [], []
        for i, level in enumerate(self.levels):
            own = params[f"level{i}"]
            z, _ = level.squeeze.forward({}, z)
            own["flow"], z = level.flow.data_init(own["flow"], z, fit=fit)
            (z, rest), _ = level.split.forward({}, z)
            kept.append(z)
            rests.append(rest)
        for i, features in self._features(params, kept.__getitem__):
            own = params[f"level{i}"]
            own["conditional"], _ = self.levels[i].conditional.data_init(
                own["conditional"], rests[i], features, fit=fit
            )
        return params

    def prepare(self, params: Params) -> Params:
        """Parameters for sampling: 1×1 convolutions inverted once, in float64 on the host.

        Same map, same use; the prepared arrays are constants, not for training.
        """
        return {
            f"level{i}": {
                **params[f"level{i}"],
                "flow": level.flow.prepare(params[f"level{i}"]["flow"]),
                "conditional": level.conditional.prepare(params[f"level{i}"]["conditional"]),
            }
            for i, level in enumerate(self.levels)
        }

    def _features(self, params, kept):
        """Yields (i, features of level i), deepest first; `kept(i)`, asked in turn, gives y_i."""
        coarser = []
        for i in reversed(range(len(self.levels))):
            y = kept(i)
            ups = [_upsample(f, 2 ** (n + 1)) for n, f in enumerate(reversed(coarser))]
            c = jnp.concatenate([y, *(_for_each(y, up) for up in ups)], -1)
            features = self.levels[i].trunk.apply({"params": params[f"level{i}"]["trunk"]}, c)
            coarser.append(features)
            yield i, features

    def encode(self, params: Params, hr: jax.Array) -> Encoding:
        """HR [B, H, W, C] in [0, 1] -> LR image and latents, with the likelihood's terms apart.

        ValueError when H or W does not divide by the scale or C is not image_channels.
        """
        self._check_hr(hr)
        z, kept, rests = hr, [], []
        log_det = jnp.zeros(hr.shape[0], hr.dtype)
        for i, level in enumerate(self.levels):
            parts = [(level.squeeze, {}), (level.flow, params[f"level{i}"]["flow"])]
            z, gained = bijectors.fold_forward(parts, z)
            (z, rest), _ = level.split.forward({}, z)
            log_det = log_det + gained
            kept.append(z)
            rests.append(rest)
        latents, log_priors = [], []
        for i, features in self._features(params, kept.__getitem__):
            level, own = self.levels[i], params[f"level{i}"]
            rest, gained = level.conditional.forward(own["conditional"], rests[i], features)
            latent, standardised = level.prior.forward(own["prior"], rest, features)
            log_det = log_det + gained
            latents.append(latent)
            log_priors.append(gaussian_logp(latent) + standardised)
        return Encoding(z, tuple(latents[::-1]), log_det, jnp.stack(log_priors[::-1]))

    def decode(self, params: Params, lr: jax.Array, latents) -> jax.Array:
        """LR [B, h, w, C] and latents (finest level first) -> HR, raw: inverse of `encode`.

        With B = 1 the latents may be those of any number of images: each becomes one, and what
        depends on the LR image alone is computed once.

        ValueError when the latents are not those of `latent_shapes(lr.shape)`.
        """
        images = latents[0].shape[:1] if lr.shape[:1] == (1,) and len(latents) else lr.shape[:1]
        expected = self.latent_shapes((*images, *lr.shape[1:]))
        found = [tuple(latent.shape) for latent in latents]
        if found != expected:
            raise ValueError(f"an LR image of {lr.shape} needs latents {expected}, got {found}")
        y = lr

        def kept(_):
            return y

        for i, features in self._features(params, kept):
            level, own = self.levels[i], params[f"level{i}"]
            y, features = _for_each(latents[i], y), _for_each(latents[i], features)
            rest, _ = level.prior.inverse(own["prior"], latents[i], features)
            rest, _ = level.conditional.inverse(own["conditional"], rest, features)
            joined, _ = level.split.inverse({}, (y, rest))
            y, _ = bijectors.fold_inverse([(level.squeeze, {}), (level.flow, own["flow"])], joined)
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
        """decode(lr, e), e ~ N(0, τ²), clamped to [0, 1]; τ = 0 gives the conditional mode path.

        One of each LR image [B, h, w, C] -> [B, H, W, C], or `samples` of a single one, B = 1 ->
        [samples, H, W, C], which share the work of its own level's features. ValueError when
        `samples` are asked of several images.
        """
        hr = self.decode(params, lr, self.draw_latents(rng, lr, temperature, samples))
        return jnp.clip(hr, 0.0, 1.0)

    def _check_hr(self, hr):
        if hr.ndim != 4 or hr.shape[-1] != self.image_channels:
            raise ValueError(
                f"an HR image must be [B, H, W, {self.image_channels}], got {tuple(hr.shape)}"
            )
        if hr.shape[1] % self.scale or hr.shape[2] % self.scale:
            raise ValueError(
                f"HR height and width must divide by {self.scale}, got {hr.shape[1]}×{hr.shape[2]}"
            )


def _for_each(like, x):
    """x [1 or B, …] for each image of `like` [B, …]."""
    return jnp.broadcast_to(x, like.shape[:1] + x.shape[1:])


def _upsample(x, factor):
    return jnp.repeat(jnp.repeat(x, factor, axis=1), factor, axis=2)


def build_model(config: Mapping[str, Any]) -> HCFlow:
    """The model of `config.model`: a mapping of HCFlow's fields; lists stand for tuples.

    ValueError naming the field when one is unknown or its value makes no sense.
    """
    known = [field.name for field in dataclasses.fields(HCFlow)]
    unknown = sorted(set(config) - set(known))
    if unknown:
        raise ValueError(f"unknown model field {unknown[0]!r}; known fields: {', '.join(known)}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in dict(config).items()}
    return HCFlow(**values)
