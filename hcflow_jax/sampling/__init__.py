"""Sampling and downscaling of pictures of any size."""

from hcflow_jax.sampling.pictures import (
    SHIPPED,
    downscale,
    downscale_all,
    load,
    sample,
    sample_all,
)

__all__ = ["SHIPPED", "downscale", "downscale_all", "load", "sample", "sample_all"]
