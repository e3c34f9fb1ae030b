"""VGG19 features for the perceptual loss, and reading their weights."""

import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hcflow_jax import paths
from hcflow_jax.checkpoints import CheckpointError, read_weights
from hcflow_jax.errors import UserError

CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
"""Indices of the convolutions in torchvision's `features`; 34 is conv5_4."""

_WIDTHS = (64, 64, 128, 128, *(256,) * 4, *(512,) * 8)
_AFTER_POOLING = (5, 10, 19, 28)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

SHA256 = "dcbb9e9d"
"""First digits of the SHA-256 of torchvision's vgg19-dcbb9e9d.pth."""

REMEDY = (
    "download torchvision's vgg19-dcbb9e9d.pth (`torchvision.models.vgg19(weights='IMAGENET1K_V1')`"
    " stores it in the torch cache) and name it by --config.loss.vgg=FILE, or switch the loss off "
    "by --config.loss.perceptual_weight=0"
)


def _halved(x):
    """The largest of every 2×2 pixels, rounded down: [B, H, W, C] -> [B, H/2, W/2, C].

    The gradient goes to the first of them, as that of `lax.reduce_window` does, but by no
    select-and-scatter, for which XLA has no deterministic program on GPUs.
    """
    b, h, w, c = x.shape
    blocks = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)
    blocks = blocks.transpose(0, 1, 3, 5, 2, 4).reshape(b, h // 2, w // 2, c, 4)
    first = jnp.argmax(blocks, -1, keepdims=True) == jnp.arange(4)
    return jnp.sum(jnp.where(first, blocks, 0), -1)


def vgg19(params, x: jax.Array, precision: lax.Precision = lax.Precision.HIGHEST) -> jax.Array:
    """conv5_4 before its ReLU, of the ImageNet-normalised image; [B, H, W, 3] -> [B, h, w, 512].

    Args:
      params: {"0": {"kernel" [3, 3, C, O], "bias" [O]}, …}, by torchvision's indices.
      x: RGB in [0, 1]; h = H/16, w = W/16, rounded down.
      precision: of convolutions.
    """
    x = (x - jnp.asarray(_MEAN, x.dtype)) / jnp.asarray(_STD, x.dtype)
    for index in CONVOLUTIONS:
        if index in _AFTER_POOLING:
            x = _halved(x)
        layer = params[str(index)]
        x = lax.conv_general_dilated(
            x,
            layer["kernel"],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=precision,
        )
        x = x + layer["bias"]
        if index != CONVOLUTIONS[-1]:
            x = jax.nn.relu(x)
    return x


def _shapes():
    """{torchvision's name: shape}."""
    shapes, channels = {}, 3
    for index, width in zip(CONVOLUTIONS, _WIDTHS, strict=True):
        shapes[f"features.{index}.weight"] = (width, channels, 3, 3)
        shapes[f"features.{index}.bias"] = (width,)
        channels = width
    return shapes


def from_torch(weights) -> dict:
    """The tree that `vgg19` takes, of torchvision's {"features.0.weight": array, …}.

    UserError naming the first array that is missing or has another shape.
    """
    params = {}
    for name, shape in _shapes().items():
        found = np.shape(weights[name]) if name in weights else "none"
        if found != shape:
            raise UserError(f"VGG19 needs {name} of shape {shape}, found {found}")
        _, index, kind = name.split(".")
        array = np.asarray(weights[name], np.float32)
        array = array.transpose(2, 3, 1, 0) if kind == "weight" else array
        params.setdefault(index, {})["kernel" if kind == "weight" else "bias"] = array
    return params


def abstract_params() -> dict:
    """Shapes and types of what `from_torch` returns."""
    zeros = {name: np.broadcast_to(np.float32(0), shape) for name, shape in _shapes().items()}
    return jax.eval_shape(lambda: from_torch(zeros))


def load(path: str | Path, sha256: str = SHA256) -> dict:
    """VGG19's parameters from torchvision's .pth, or from a .npz that holds the same names.

    Args:
      sha256: first digits of the file's hash; "" accepts any file.

    CheckpointError, which says where to get it, when the file is missing, damaged or another.
    """
    path = paths.located(path)
    if str(path) in ("", ".") or not path.is_file():
        what = f"{path} is not a file" if str(path) not in ("", ".") else "no file is named"
        raise CheckpointError(f"the perceptual loss needs the weights of VGG19, {what}; {REMEDY}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(sha256):
        raise CheckpointError(
            f"{path} has SHA-256 {found[:12]}…, not {sha256}…: it is damaged or another network; "
            f"{REMEDY}, or accept it by --config.loss.vgg_sha256={found[:12]}"
        )
    try:
        return from_torch(read_weights(path))
    except CheckpointError:
        raise
    except UserError as error:
        raise CheckpointError(f"{path}: {error}; {REMEDY}") from error
