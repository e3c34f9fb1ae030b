"""The losses by their public name; `training.losses` and `model.likelihood` hold them."""

from hcflow_jax.training.losses import *  # noqa: F403
from hcflow_jax.training.losses import __all__ as __all__
