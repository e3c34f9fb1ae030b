"""Pure image bijectors with explicit log-determinants."""

from hcflow_jax.bijectors.base import Bijector, Chain, fold_forward, fold_inverse
from hcflow_jax.bijectors.coupling import AffineCoupling, Coupling, ShiftCoupling
from hcflow_jax.bijectors.linear import ActNorm, InvertibleConv1x1, fit_actnorm
from hcflow_jax.bijectors.repeat import Repeat
from hcflow_jax.bijectors.squeeze import ChannelSplit, CheckerboardSqueeze, HaarSqueeze
from hcflow_jax.bijectors.step import alternate, flow_step, locate

__all__ = [
    "ActNorm",
    "AffineCoupling",
    "Bijector",
    "Chain",
    "ChannelSplit",
    "CheckerboardSqueeze",
    "Coupling",
    "HaarSqueeze",
    "InvertibleConv1x1",
    "Repeat",
    "ShiftCoupling",
    "alternate",
    "fit_actnorm",
    "flow_step",
    "fold_forward",
    "fold_inverse",
    "locate",
]
