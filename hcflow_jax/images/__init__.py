"""Images as arrays: files, resizing, quality metrics."""

from hcflow_jax.images.files import (
    FORMATS,
    ImageError,
    Picture,
    check_writable,
    extend,
    header_size,
    header_sizes,
    list_images,
    pad_reflect,
    read,
    read_uint8,
    write,
    write_beside,
)

__all__ = [
    "FORMATS",
    "ImageError",
    "Picture",
    "check_writable",
    "extend",
    "header_size",
    "header_sizes",
    "list_images",
    "pad_reflect",
    "read",
    "read_uint8",
    "write",
    "write_beside",
]
