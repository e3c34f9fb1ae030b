"""Sampling, downscaling and encoding of pictures of any size."""

from hcflow_jax.sampling.checking import Sample
from hcflow_jax.sampling.encoding import EncodedPicture, decode_picture, encode_picture
from hcflow_jax.sampling.noise import MAX_TEMPERATURE, Noise, check_temperature
from hcflow_jax.sampling.pictures import (
    SHIPPED,
    downscale,
    downscale_all,
    load,
    sample,
    sample_all,
)

__all__ = [
    "MAX_TEMPERATURE",
    "SHIPPED",
    "EncodedPicture",
    "Noise",
    "Sample",
    "check_temperature",
    "decode_picture",
    "downscale",
    "downscale_all",
    "encode_picture",
    "load",
    "sample",
    "sample_all",
]
