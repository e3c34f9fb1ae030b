"""HCFlow in JAX: super-resolution and rescaling with one invertible network."""

from hcflow_jax.convert import from_torch, to_published
from hcflow_jax.model import Encoding, HCFlow, build_model

__all__ = ["Encoding", "HCFlow", "build_model", "from_torch", "to_published"]
