"""Sampling and downscaling of pictures of any size."""

from hcflow_jax.sampling.checking import Sample
from hcflow_jax.sampling.pictures import (
    MAX_TEMPERATURE,
    SHIPPED,
    check_temperature,
    downscale,
    downscale_all,
    load,
    sample,
    sample_all,
)

__all__ = [
    "MAX_TEMPERATURE",
    "SHIPPED",
    "Sample",
    "check_temperature",
    "downscale",
    "downscale_all",
    "load",
    "sample",
    "sample_all",
]
