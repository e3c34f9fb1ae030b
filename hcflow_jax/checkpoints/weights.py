"""Files of published weights: .npz, .safetensors and torch's; nothing in them is run.

Names and shapes are read first, and compared with a network's, before memory is taken for arrays.
"""

import importlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from hcflow_jax.checkpoints.npz import FileError, read_npz
from hcflow_jax.errors import UserError, first_line, needing, shown

TORCH = (".pth", ".pt", ".ckpt", ".bin")
"""Suffixes of files that torch reads."""

SUFFIXES = (".npz", ".safetensors", *TORCH)

LIMIT = 2**31
"""Bytes of a file's arrays; those of HCFlow have 10⁸, those of VGG19 6·10⁸."""

_CONTAINERS = ("params_ema", "params", "state_dict", "generator", "netG", "model")
"""Keys of torch's files under which there is a state dict, the preferred ones first."""

_TYPES: dict[str, object] = {
    **{f"F{8 * n}": f"float{8 * n}" for n in (2, 4, 8)},
    **{f"I{8 * n}": f"int{8 * n}" for n in (1, 2, 4, 8)},
    **{f"U{8 * n}": f"uint{8 * n}" for n in (1, 2, 4, 8)},
    "BF16": jnp.bfloat16,
}
"""{name of a type in a .safetensors: numpy's}."""


class CheckpointError(UserError):
    """A checkpoint that cannot be read or written; the message is one line for the user."""


def read_weights(
    path: Path,
    check: Callable[[Mapping[str, tuple[int, ...]]], object] = lambda shapes: None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, np.ndarray]:
    """{name: array} of a `.npz`, a `.safetensors`, or of torch's files with `weights_only=True`.

    Args:
      check: called with {name: shape} before the arrays are read; raises for what does not fit.
      say: called with a line for the user, where a file holds weights twice.

    CheckpointError when the file is none of these, is damaged, holds more than weights, or arrays
    beyond LIMIT.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _read_npz(path, check)
    if suffix == ".safetensors":
        return _read_safetensors(path, check)
    if suffix in TORCH:
        return _read_torch(path, check, say)
    raise CheckpointError(
        f"{path} is not a checkpoint; give a directory or a file in {', '.join(SUFFIXES)}"
    )


def _check_names(path, sizes):
    """CheckpointError unless {name: bytes} are names that can be told, and arrays within LIMIT."""
    for name in sizes:
        if len(name) > 200 or not name.isprintable():
            raise CheckpointError(f"{path} names an array {ascii(name[:50])}…, as no network does")
    total = sum(sizes.values())
    if total > LIMIT:
        raise CheckpointError(
            f"{path} holds arrays of {total / 1e9:.4g} GB, more than any network here has; "
            "name a file of weights"
        )


def _reader(path, name):
    """The package that reads a file; CheckpointError where it is missing."""
    try:
        with needing("convert"):
            return importlib.import_module(name)
    except UserError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _read_npz(path, check):
    def fits(headers):
        _check_names(path, {name: header.size for name, header in headers.items()})
        check({name: header.shape for name, header in headers.items()})

    try:
        return read_npz(path, fits)
    except FileError as error:
        raise CheckpointError(str(error)) from error


def _read_safetensors(path, check):
    safetensors = _reader(path, "safetensors")
    try:
        found = dict(safetensors.deserialize(path.read_bytes()))
    except Exception as error:
        raise CheckpointError(f"{path} is not a readable .safetensors: {error}") from error
    _check_names(path, {name: len(array["data"]) for name, array in found.items()})
    for name, array in found.items():
        if array["dtype"] not in _TYPES:
            raise CheckpointError(f"{path}: {name} has type {array['dtype']}; save it as F32")
    check({name: tuple(array["shape"]) for name, array in found.items()})
    return {name: _safe_array(**array) for name, array in found.items()}


def _safe_array(dtype, shape, data):
    array = np.frombuffer(data, _TYPES[dtype]).reshape(shape)
    return array.astype(np.float32) if dtype == "BF16" else array


def _read_torch(path, check, say):
    torch = _reader(path, "torch")
    try:
        with path.open("rb") as file:
            _check_records(file)
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = first_line(error)
        raise CheckpointError(f"{path} holds more than weights, or is damaged: {reason}") from error
    tensors = _state_dict(path, loaded, say)
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) and not value.is_complex()
        for name, value in tensors.items()
    ):
        raise CheckpointError(f"{path} holds no state dict of named tensors of real numbers")
    for name, tensor in tensors.items():
        fault = _fault(tensor)
        if fault:
            raise CheckpointError(f"{path}: {name} is {fault}")
    _check_names(path, {name: 4 * tensor.numel() for name, tensor in tensors.items()})
    check({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    return {name: tensor.detach().float().numpy() for name, tensor in tensors.items()}


def _check_records(file):
    """ValueError where records of torch's zip archive are longer than the file they are in."""
    if file.read(4) == b"PK\x03\x04":
        with zipfile.ZipFile(file) as archive:
            if not any(name.endswith("data.pkl") for name in archive.namelist()):
                raise ValueError("it is an archive, but not torch's; name it .npz if it is one")
            length = sum(info.file_size for info in archive.infolist())
        if length > file.seek(0, 2):
            raise ValueError("its records are compressed, which torch's never are")
    file.seek(0)


def _state_dict(path, loaded, say):
    """The state dict in what torch loaded; `say` tells which, where there are averaged weights."""
    for _ in _CONTAINERS:  # a dict may hold itself
        found = loaded if isinstance(loaded, dict) else {}
        keys = [key for key in _CONTAINERS if isinstance(found.get(key), dict) and found[key]]
        if not keys:
            break
        if keys[:2] == ["params_ema", "params"]:
            say(f"{shown(path)}: its params_ema, the averaged weights, are taken, not its params")
        loaded = found[keys[0]]
    return loaded


def _fault(tensor):
    """What keeps a tensor from being an array, with the remedy, or None."""
    import torch

    if tensor.is_nested or tensor.layout != torch.strided:
        return "a sparse or nested tensor; save it by its to_dense() or to_padded_tensor()"
    if tensor.is_quantized:
        return "quantised; save it by its dequantize()"
    if tensor.is_meta:
        return "on torch's device meta, it has no values; save the weights from a real device"
    return None
