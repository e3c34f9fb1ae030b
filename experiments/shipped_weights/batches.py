"""Training patches from one file of tiles, in memory as bytes; LR images made as MATLAB does."""

import functools
import io
import json
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from PIL import Image
from synthetic import BAYER

from hcflow_jax.images import resize

SYNTHETIC_SHARE = 0.08


class Tiles:
    """All tiles of a `pack.py` file and how often each is drawn: by the root of its detail."""

    def __init__(self, path: Path, synthetic: float = SYNTHETIC_SHARE):
        with zipfile.ZipFile(path) as archive:
            index = json.loads(archive.read("index.json"))
            self.images = jnp.stack(
                [_decode(archive, f"tiles/{i:05}.webp") for i in range(len(index["tiles"]))]
            )
            self.held_out = {
                name: _decode(archive, f"held_out/{name}.webp") for name in index["held_out"]
            }
        weights = np.sqrt([detail for _, detail in index["tiles"]])
        drawn = np.array([name == "synthetic" for name, _ in index["tiles"]])
        weights[drawn] *= synthetic / weights[drawn].sum()
        weights[~drawn] *= (1 - synthetic) / weights[~drawn].sum()
        self.cumulative = np.cumsum(weights / weights.sum())
        self.drawn = np.flatnonzero(drawn)

    def places(self, seed: int, step: int, count: int, side: int, drawn=False) -> np.ndarray:
        """int32 [count, 4] of iteration `step`: tile, top, left and turn of random windows.

        Of all tiles, or of those `drawn` alone, each as often.
        """
        rng = np.random.default_rng([seed, step])
        chosen = np.searchsorted(self.cumulative, rng.random(count), side="right")
        if drawn:
            chosen = rng.choice(self.drawn, count)
        corners = rng.integers(0, self.images.shape[1] - side + 1, (count, 2))
        turns = rng.integers(0, 8, count)
        chosen = np.minimum(chosen, len(self.images) - 1)
        return np.stack([chosen, *corners.T, turns], -1).astype(np.int32)

    def windows(self, seed: int, step: int, count: int, side: int) -> jax.Array:
        """uint8 [count, side, side, 3] of iteration `step`: cut, mirrored and turned at random."""
        return cut(self.images, self.places(seed, step, count, side), side)


@functools.partial(jax.jit, static_argnums=2)
def cut(images: jax.Array, places: jax.Array, side: int) -> jax.Array:
    """The windows uint8 [B, side, side, 3] of `images` at `places`, as `Tiles.places` gives them.

    Of a turn t, t & 1 mirrors and t >> 1 is the number of quarter turns.
    """

    def one(place):
        tile, top, left, turn = place
        window = lax.dynamic_slice(images, (tile, top, left, 0), (1, side, side, 3))[0]
        window = jnp.where(turn & 1, window[:, ::-1], window)
        turned = jnp.stack([jnp.rot90(window, quarters) for quarters in range(4)])
        return turned[turn >> 1]

    return jax.vmap(one)(places)


def strange(windows: jax.Array, scale: int, key: jax.Array) -> jax.Array:
    """LR images [B, h, w, 3] in [0, 1], 8 bits, unlike a shrunk photograph's.

    Each is its uint8 window, as for `pair`, shrunk, or a part of it as it is, or noise, one-bit
    noise, in colour or grey, saturated blocks of 8², checks or stripes 1 to 3 pixels wide, or a
    halftone. Half of the patterns lie between two colours drawn for each, some of them saturated.
    """
    keys = jax.random.split(key, 7)
    shrunk = pair(windows, scale)[1]
    drawn = windows[:, : shrunk.shape[1], : shrunk.shape[2]] / 255
    noise = jax.random.randint(keys[0], shrunk.shape, 0, 256) / 255
    bits = jnp.round(noise)
    blocks = bits[:, : shrunk.shape[1] // 8 + 1].repeat(8, 1)
    blocks = blocks[:, :, : shrunk.shape[2] // 8 + 1].repeat(8, 2)
    corner = jax.random.randint(keys[1], (2,), 0, 8)
    blocks = lax.dynamic_slice(blocks, (0, *corner, 0), shrunk.shape)
    grey = jnp.broadcast_to(bits[..., :1], bits.shape)
    checks, halftones = _checks(shrunk.shape, keys[2]), _halftones(shrunk.shape, keys[3])
    patterns = [noise, bits, grey, blocks, checks, halftones]
    images = [*patterns, drawn, drawn, shrunk, shrunk, shrunk]
    kind = jax.random.randint(keys[4], (len(windows), 1, 1, 1), 0, len(images))
    image = jnp.select([kind == number for number in range(len(images))], images)
    tinted, saturated = jax.random.bernoulli(keys[5], shape=(2, len(windows), 1, 1, 1))
    ends = jax.random.uniform(keys[6], (2, len(windows), 1, 1, 3))
    first, last = jnp.where(saturated, jnp.round(ends), ends)
    image = jnp.where(tinted & (kind < len(patterns)), first + (last - first) * image, image)
    return jnp.round(255 * image) / jnp.float32(255)


def _checks(shape, key):
    """[B, h, w, 3] of 0 and 1: each image's checks, columns or rows are 1 to 3 pixels wide."""
    width, kind = jax.random.randint(key, (2, shape[0], 1, 1, 1), 0, 3)
    rows, columns = (lax.broadcasted_iota(int, shape, axis) // (1 + width) for axis in (1, 2))
    return (rows * (kind != 1) + columns * (kind != 2)) % 2.0


def _halftones(shape, key):
    """[B, h, w, 3] of 0 and 1: slopes from one grey to another by Bayer's 4 × 4 thresholds."""
    first, last = jax.random.uniform(key, (2, shape[0], 1, 1, 1))
    slope = first + (last - first) * jnp.linspace(0, 1, shape[2])[:, None]
    rows, columns = (lax.broadcasted_iota(int, shape, axis) % 4 for axis in (1, 2))
    return jnp.where(slope > jnp.asarray(BAYER)[rows, columns], 1.0, 0.0)


def _decode(archive, name):
    return np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))


def margin(scale: int) -> int:
    """Pixels around a patch that its LR image depends on, divisible by the scale."""
    return 2 * scale


def pair(windows: jax.Array, scale: int) -> tuple[jax.Array, jax.Array]:
    """(HR patches, their LR images) of uint8 windows with a margin; float32 in [0, 1].

    The LR image is imresize(window, 1/scale), rounded after each axis, without its margin.
    """
    side, edge = windows.shape[1], margin(scale)
    indices, weights = resize._taps(side, side // scale, 1 / scale)
    matrix = np.zeros((side // scale, side))
    np.add.at(matrix, (np.arange(side // scale)[:, None], indices), weights)
    inner = jnp.asarray(matrix[edge // scale : -edge // scale], jnp.float32)
    pixels = windows.astype(jnp.float32)

    def rounded(x):
        return jnp.clip(jnp.floor(x + 0.5), 0, 255)

    lr = rounded(jnp.einsum("ih,bhwc->biwc", inner, pixels, precision="highest"))
    lr = rounded(jnp.einsum("jw,biwc->bijc", inner, lr, precision="highest"))
    return pixels[:, edge:-edge, edge:-edge] / 255, lr / 255
