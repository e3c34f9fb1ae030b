"""Sampling, downscaling and encoding of pictures of any size."""

from hcflow_jax.sampling.back_projection import STEPS as BACK_PROJECTION
from hcflow_jax.sampling.checking import Sample
from hcflow_jax.sampling.downscaling import downscale, downscale_all, refined
from hcflow_jax.sampling.encoding import EncodedPicture, decode_picture, encode_picture
from hcflow_jax.sampling.exploring import (
    Best,
    around_region,
    best_of,
    check_region,
    interpolate,
    latent_energy,
    mix_levels,
    region_mask,
    resample,
    resample_all,
    unlikeness,
)
from hcflow_jax.sampling.noise import MAX_TEMPERATURE, Noise, check_temperature
from hcflow_jax.sampling.pictures import (
    DEFAULT_SCALE,
    SHIPPED,
    SHIPPED_FOR_JPEG,
    load,
    sample,
    sample_all,
    shipped_scales,
)

__all__ = [
    "BACK_PROJECTION",
    "DEFAULT_SCALE",
    "MAX_TEMPERATURE",
    "SHIPPED",
    "SHIPPED_FOR_JPEG",
    "Best",
    "EncodedPicture",
    "Noise",
    "Sample",
    "around_region",
    "best_of",
    "check_region",
    "check_temperature",
    "decode_picture",
    "downscale",
    "downscale_all",
    "encode_picture",
    "interpolate",
    "latent_energy",
    "load",
    "mix_levels",
    "refined",
    "region_mask",
    "resample",
    "resample_all",
    "sample",
    "sample_all",
    "shipped_scales",
    "unlikeness",
]
