"""The architecture: its fields, their checks, and the parts of every level."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jax import lax

from hcflow_jax import bijectors, fields
from hcflow_jax.bijectors import Bijector
from hcflow_jax.errors import UserError
from hcflow_jax.fields import field
from hcflow_jax.kernels import Arithmetic
from hcflow_jax.model.networks import FCN, DenseBlock, FeatureTrunk
from hcflow_jax.model.prior import ConditionalGaussian

NetworkDtype = Literal["float32", "tensorfloat32", "bfloat16"]
"""What the networks inside the flow are computed in."""

PER_LEVEL = ("hidden", "conditional_hidden", "blocks", "features", "growth")
"""Fields that may differ from level to level."""


StepHook = Callable[[Bijector, int, int], Bijector]
"""(flow step, channels of its image, of its cond or 0) -> the bijector that stands in its place."""


def _check_counts(name, value, least):
    if not isinstance(value, tuple) or any(type(v) is not int or v < least for v in value):
        raise UserError(f"{name} must hold whole numbers of at least {least}; got {value!r}")


@dataclasses.dataclass(frozen=True)
class Level:
    """One level: squeeze, unconditional steps, split; conditional steps and prior of the latents.

    `cond_channels` is the width of the trunk's input: the level's LR side and coarser features.
    """

    squeeze: Bijector
    flow: bijectors.Chain
    split: bijectors.ChannelSplit
    trunk: FeatureTrunk
    conditional: bijectors.Chain
    prior: ConditionalGaussian
    cond_channels: int


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Fields of a model of L = len(steps) levels, scale 2^L; UserError naming a field out of range.

    Those of PER_LEVEL are one value for all levels, as published, or one per level, finest first.
    `step` puts bijectors of your own into the flow: it is asked for every flow step, conditional
    ones too, and may wrap what is built in, or replace it. Models are compared by the function
    itself, so let it be one at the top of a module.
    """

    task: Literal["sr", "rescaling"] = field(
        "sr",
        "sr: prior of unbounded scale, features of both trunks; rescaling: of bounded scale, "
        "features of the last trunk",
        choices=("sr", "rescaling"),
    )
    steps: tuple[int, ...] = field((26, 26), "K_l, flow steps of level l, finest first")
    conditional_steps: tuple[int, ...] = field(
        (13, 13), "M_l ≤ K_l, how many of them are conditional"
    )
    hidden: int | tuple[int, ...] = field(
        64, "width of the unconditional couplings' networks; a dense block's growth"
    )
    conditional_hidden: int | tuple[int, ...] = field(
        64, "width of the conditional couplings' networks"
    )
    blocks: tuple[int, int] | tuple[tuple[int, int], ...] = field(
        (7, 7), "RRDBs in the two trunks of a level"
    )
    features: int | tuple[int, ...] = field(64, "channels of the trunks")
    growth: int | tuple[int, ...] = field(32, "growth channels of their dense blocks")
    image_channels: int = field(3, "3 for RGB, 1 for grey")
    squeeze: Literal["checkerboard", "haar"] = field(
        "checkerboard", "how pixels become channels", choices=("checkerboard", "haar")
    )
    coupling: Literal["affine", "shift"] = field(
        "affine",
        "of the unconditional steps; shift splits off the first image_channels and alternates "
        "affine and additive steps",
        choices=("affine", "shift"),
    )
    permutation: Literal["conv1x1", "none"] = field(
        "conv1x1", "in the unconditional steps", choices=("conv1x1", "none")
    )
    net: Literal["fcn", "dense_block"] = field(
        "fcn", "in the unconditional couplings", choices=("fcn", "dense_block")
    )
    guard: bool = field(
        False,
        "what networks read, and what priors say, is clamped to ranges kept with the parameters",
        choices=(False, True),
    )
    dtype: NetworkDtype = field(
        "float32",
        "of the networks' convolutions, everything else is float32; tensorfloat32: float32 whose "
        "products are rounded to 10 bits on GPUs, 16 on TPUs",
        choices=("float32", "tensorfloat32", "bfloat16"),
        free=True,
    )
    kernels: Literal["auto", "plain"] = field(
        "auto",
        "auto: kernels for CPUs on CPUs; plain: JAX's own, which have forward mode too",
        choices=("auto", "plain"),
        free=True,
    )
    remat: bool = field(
        False,
        "gradients recompute the inside of flow steps and RRDBs: less memory, more time",
        choices=(False, True),
        free=True,
    )
    reversible: bool = field(
        False,
        "gradients recompute the inputs of flow steps from their outputs: memory does not grow "
        "with their number",
        choices=(False, True),
        free=True,
    )

    step: StepHook | None = None

    def __post_init__(self):
        fields.check(self)
        if self.step is not None and not callable(self.step):
            raise UserError(f"step must be a function that makes flow steps; got {self.step!r}")
        _check_counts("image_channels", (self.image_channels,), least=1)
        _check_counts("steps", self.steps, least=0)
        _check_counts("conditional_steps", self.conditional_steps, least=0)
        if not self.steps or len(self.steps) != len(self.conditional_steps):
            raise UserError(
                "steps and conditional_steps need one entry per level, "
                f"got {self.steps} and {self.conditional_steps}"
            )
        if any(m > k for k, m in zip(self.steps, self.conditional_steps, strict=True)):
            raise UserError(f"conditional_steps {self.conditional_steps} exceed steps {self.steps}")
        for name in PER_LEVEL:
            self._check_per_level(name)

    def _check_per_level(self, name):
        values = self.per_level(name)
        if len(values) != len(self.steps):
            raise UserError(
                f"{name} needs one value, or one per level of {len(self.steps)}, "
                f"got {getattr(self, name)!r}"
            )
        for value in values:
            _check_counts(name, value if name == "blocks" else (value,), least=1)
            if name == "blocks" and len(value) != 2:
                raise UserError(f"blocks must hold the RRDBs of the two trunks, got {value}")

    def per_level(self, name: str) -> tuple:
        """The field `name` of PER_LEVEL as one value per level, finest first."""
        value = getattr(self, name)
        single = (not value or not isinstance(value[0], tuple)) if name == "blocks" else None
        if single or not isinstance(value, tuple):
            return (value,) * len(self.steps)
        return value

    @property
    def scale(self) -> int:
        """2^L."""
        return 2 ** len(self.steps)

    @property
    def cycle(self) -> tuple[str, ...]:
        """Names of the unconditional steps that alternate."""
        return ("affine", "shift") if self.coupling == "shift" else ("affine",)

    @property
    def precision(self) -> lax.Precision:
        """Of products of float32 in networks, those of training's losses too; see `Arithmetic`."""
        return lax.Precision.HIGHEST if self.dtype == "float32" else lax.Precision.HIGH

    @property
    def _arithmetic(self):
        dtype = jnp.bfloat16 if self.dtype == "bfloat16" else None
        return Arithmetic(dtype, self.kernels, self.precision)

    @functools.cached_property
    def levels(self) -> tuple[Level, ...]:
        """The parts of every level, finest first."""
        inner = [2 * self.image_channels * 2**i for i in range(len(self.steps) - 1)]
        widths = [*inner, self.image_channels]
        inputs = [4 * width for width in (self.image_channels, *inner)]
        return tuple(map(self._level, range(len(widths)), inputs, widths))

    def _level(self, i: int, channels: int, keep: int) -> Level:
        """Level i, whose squeezed image has `channels`, of which `keep` go on."""
        level = (self.per_level(name)[i] for name in PER_LEVEL)
        hidden, conditional_hidden, blocks, features, growth = level
        both, memory = self.task == "sr", (self.remat, self.reversible)
        split_off = channels - keep
        widths = [width * (2 if both else 1) for width in self.per_level("features")]
        net = FCN(conditional_hidden, 2 * (split_off - split_off // 2), self._arithmetic)
        half = split_off // 2
        coupling = bijectors.AffineCoupling(split_off, half, net, widths[i], self.guard)
        return Level(
            squeeze=self._squeeze,
            flow=bijectors.alternate(
                self._cycle(channels, hidden), self.steps[i] - self.conditional_steps[i], *memory
            ),
            split=bijectors.ChannelSplit(keep),
            trunk=FeatureTrunk(blocks, features, growth, both, self._arithmetic, self.remat),
            conditional=bijectors.alternate(
                {"affine": self._hooked(bijectors.flow_step(coupling), split_off, widths[i])},
                self.conditional_steps[i],
                *memory,
            ),
            prior=ConditionalGaussian(split_off, widths[i], not both, self._arithmetic, self.guard),
            cond_channels=keep + sum(widths[i + 1 :]),
        )

    def _hooked(self, built_in, channels, cond_channels):
        return self.step(built_in, channels, cond_channels) if self.step else built_in

    @property
    def _squeeze(self) -> Bijector:
        haar = self.squeeze == "haar"
        return bijectors.HaarSqueeze() if haar else bijectors.CheckerboardSqueeze()

    def _cycle(self, channels: int, hidden: int) -> dict[str, Bijector]:
        """The unconditional steps that alternate, by the names of `cycle`."""

        def step(kind, split, outputs):
            network = FCN if self.net == "fcn" else DenseBlock
            net = network(hidden, outputs, arithmetic=self._arithmetic)
            coupling = kind(channels, split, net, guard=self.guard)
            built_in = bijectors.flow_step(coupling, permute=self.permutation == "conv1x1")
            return self._hooked(built_in, channels, 0)

        split = channels // 2 if self.coupling == "affine" else self.image_channels
        steps = {"affine": step(bijectors.AffineCoupling, split, 2 * (channels - split))}
        if self.coupling == "shift":
            steps["shift"] = step(bijectors.ShiftCoupling, split, split)
        return steps
