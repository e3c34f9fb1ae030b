"""Images as arrays: files, resizing, quality metrics."""

from hcflow_jax.images.cropping import crop
from hcflow_jax.images.formats import FORMATS
from hcflow_jax.images.frames import frame_count
from hcflow_jax.images.headers import header_size, header_sizes
from hcflow_jax.images.listing import list_images
from hcflow_jax.images.padding import extend, pad_reflect
from hcflow_jax.images.picture import Picture
from hcflow_jax.images.reading import (
    MAX_PIXELS,
    ImageError,
    is_read_in_parts,
    opened,
    read,
    read_uint8,
)
from hcflow_jax.images.writing import (
    StandardOutput,
    check_place,
    check_quality,
    check_size,
    check_writable,
    result_bits,
    result_coding,
    write,
    write_beside,
)

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "ImageError",
    "Picture",
    "StandardOutput",
    "check_place",
    "check_quality",
    "check_size",
    "check_writable",
    "crop",
    "extend",
    "frame_count",
    "header_size",
    "header_sizes",
    "is_read_in_parts",
    "list_images",
    "opened",
    "pad_reflect",
    "read",
    "read_uint8",
    "result_bits",
    "result_coding",
    "write",
    "write_beside",
]
