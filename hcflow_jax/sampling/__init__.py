"""Pictures of any size through a model."""

from hcflow_jax.sampling.pictures import (
    SHIPPED,
    downscale,
    downscale_all,
    load,
    sample,
    sample_all,
)

__all__ = ["SHIPPED", "downscale", "downscale_all", "load", "sample", "sample_all"]
