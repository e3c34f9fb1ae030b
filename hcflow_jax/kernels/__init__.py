"""Fast forms of the networks' convolutions; a test holds each to the plain formula it equals."""

from hcflow_jax.kernels.arithmetic import Arithmetic

__all__ = ["Arithmetic"]
