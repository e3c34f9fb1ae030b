"""Pictures of any size as their LR image and latents, and exactly back.

Windows overlap by twice as much as those of `sample_all`: where a sample may differ from that of
the whole picture by a fraction of a level, what is encoded must come back to the bit.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from hcflow_jax import devices, images
from hcflow_jax.images.metrics import to_uint8
from hcflow_jax.model import HCFlow
from hcflow_jax.sampling import tiling
from hcflow_jax.sampling.pictures import in_windows


@dataclasses.dataclass(frozen=True)
class EncodedPicture:
    """What `encode_picture` makes of a picture.

    Attributes:
      lr: [h, w, C] the model's LR image, raw: neither clamped nor rounded.
      latents: one [h·2^k, w·2^k, C'] per level, finest first, standardised.
      size: (H, W) of the picture; h = ⌈H/scale⌉, w = ⌈W/scale⌉.
    """

    lr: np.ndarray
    latents: tuple[np.ndarray, ...]
    size: tuple[int, int]


@partial(jax.jit, static_argnums=0)
def _encode_windows(model, params, hr):
    encoding = model.encode(params, hr)
    return encoding.lr, *encoding.latents


@partial(jax.jit, static_argnums=0)
def _decode_windows(model, params, packed):
    shapes = model.latent_shapes((*packed.shape[:3], model.image_channels))
    factors = [1, *(shape[1] // packed.shape[1] for shape in shapes)]
    channels = [model.image_channels, *(shape[-1] for shape in shapes)]
    widths = [c * f**2 for c, f in zip(channels, factors, strict=True)]
    parts = jnp.split(packed, np.cumsum(widths)[:-1], axis=-1)
    lr, *latents = (_unpacked(part, f) for part, f in zip(parts, factors, strict=True))
    return model.decode(params, lr, latents)


def _packed(array, factor):
    """[f·h, f·w, C] -> [h, w, f²·C]."""
    height, width = (side // factor for side in array.shape[:2])
    return (
        array.reshape(height, factor, width, factor, -1).swapaxes(1, 2).reshape(height, width, -1)
    )


def _unpacked(array, factor):
    """[n, h, w, f²·C] -> [n, f·h, f·w, C], the inverse of `_packed`."""
    n, height, width, channels = array.shape
    blocks = array.reshape(n, height, width, factor, factor, channels // factor**2)
    return blocks.swapaxes(2, 3).reshape(n, factor * height, factor * width, -1)


def _overlap(tile, halo):
    return min(2 * tiling.HALO, tile // 2 - 32) if halo is None else halo


def encode_all(
    model: HCFlow,
    params,
    pictures: Iterable[np.ndarray],
    tile: int = tiling.TILE,
    halo: int | None = None,
    progress=lambda count: None,
) -> Iterator[EncodedPicture]:
    """Each picture [H, W, C] in [0, 1] as its LR image and latents, without noise.

    Sides that do not divide by the scale are first extended by reflection. `tile` and `halo` as in
    `downscale_all`; None stands for 192, or what leaves the middle 64 pixels of a tile.
    """
    params, shard = devices.replicated_locally(params)
    sizes = []

    def padded():
        for hr in pictures:
            sizes.append(hr.shape[:2])
            yield images.pad_reflect(hr, model.scale)

    def apply(pixels, *_):
        return _encode_windows(model, params, shard(pixels))

    shapes = model.latent_shapes((1, 1, 1, model.image_channels))
    outputs = (1, *(shape[1] for shape in shapes))
    found = in_windows(
        apply, padded(), model, model.scale, outputs, tile, _overlap(tile, halo), progress
    )
    for i, (lr, *latents) in enumerate(found):
        yield EncodedPicture(lr, tuple(latents), sizes[i])


def decode_all(
    model: HCFlow,
    params,
    pictures: Iterable[EncodedPicture],
    tile: int = tiling.TILE,
    halo: int | None = None,
    progress=lambda count: None,
) -> Iterator[np.ndarray]:
    """The raw picture [H, W, C] of each: the inverse of `encode_all`, but for rounding."""
    params, shard = devices.replicated_locally(params)
    sizes = []

    def packed():
        for encoded in pictures:
            sizes.append(encoded.size)
            height = len(encoded.lr)
            parts = (encoded.lr, *encoded.latents)
            yield np.concatenate([_packed(x, len(x) // height) for x in parts], -1)

    def apply(windows, *_):
        return [_decode_windows(model, params, shard(windows))]

    found = in_windows(
        apply, packed(), model, 1, (model.scale,), tile, _overlap(tile, halo), progress
    )
    for i, (hr,) in enumerate(found):
        height, width = sizes[i]
        yield hr[:height, :width]


def encode_picture(
    model: HCFlow, params, rgb: np.ndarray, tile: int = tiling.TILE, progress=lambda count: None
) -> EncodedPicture:
    """`encode_all` of one picture."""
    return next(encode_all(model, params, [rgb], tile, progress=progress))


def decode_picture(
    model: HCFlow,
    params,
    encoded: EncodedPicture,
    tile: int = tiling.TILE,
    progress=lambda count: None,
) -> np.ndarray:
    """`decode_all` of one picture."""
    return next(decode_all(model, params, [encoded], tile, progress=progress))


def changed_values(rgb: np.ndarray, again: np.ndarray) -> tuple[int, int]:
    """(values whose 8 bits differ, the largest difference, of 255) of two pictures in [0, 1].

    Values that are not finite differ by 255.
    """
    finite = np.isfinite(again)
    found = to_uint8(np.where(finite, again, 0)).astype(int)
    difference = np.where(finite, np.abs(found - to_uint8(rgb)), 255)
    return int(np.count_nonzero(difference)), int(difference.max())
