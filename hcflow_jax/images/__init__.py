"""Pictures as arrays: files, resizing, quality."""

from hcflow_jax.images.files import (
    FORMATS,
    ImageError,
    Picture,
    check_writable,
    extend,
    list_images,
    pad_reflect,
    read,
    write,
    write_beside,
)

__all__ = [
    "FORMATS",
    "ImageError",
    "Picture",
    "check_writable",
    "extend",
    "list_images",
    "pad_reflect",
    "read",
    "write",
    "write_beside",
]
