"""Hashes of what a checkpoint holds, by which bits that flipped since are noticed."""

import hashlib
import json
from collections.abc import Callable

import jax
import numpy as np

from hcflow_jax.bijectors.linear import PREPARED

HASHES = "hashes"
"""The item of a checkpoint with {other item: {name of an array, "" for JSON: its record}}."""


class MismatchError(ValueError):
    """Values that are not those that were written; the message names them."""


def of_arrays(tree) -> dict[str, str]:
    """{name: record} of a tree's arrays, a record being "TYPE[SHAPE] SHA-256 of the values".

    The values are hashed as contiguous, native bytes. Of an array that is spread over several
    processes, all of them call this, and have the same record.
    """
    return {name: _record(_whole(leaf)) for name, leaf in _named(tree)}


def of_json(value) -> dict[str, str]:
    """{"": SHA-256} of a JSON value, whatever the order of its keys."""
    text = json.dumps(json.loads(json.dumps(value)), sort_keys=True)
    return {"": hashlib.sha256(text.encode()).hexdigest()}


def fingerprint(params) -> str:
    """SHA-256 of a model's parameters, alike whether `HCFlow.prepare`d or not."""
    records = of_arrays(params)
    own = {k: v for k, v in records.items() if k.rpartition("/")[2] not in PREPARED}
    return of_json(own)[""]


def as_written(tree, records: dict[str, str]):
    """`tree` of shapes, as empty arrays of the types that were written; its own without records."""

    def empty(name, leaf):
        record = records.get(name)
        return np.empty(leaf.shape, leaf.dtype if record is None else record.partition("[")[0])

    leaves = [empty(name, leaf) for name, leaf in _named(tree)]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def check(found: dict, records_of: Callable, written: dict[str, dict[str, str]]) -> None:
    """MismatchError naming the first value of {item: tree} whose record is not the one written."""
    for item, tree in found.items():
        records, expected = records_of(tree), written.get(item, {})
        for name in sorted(records.keys() | expected.keys()):
            if records.get(name) != expected.get(name):
                raise MismatchError(f"{item}/{name}".rstrip("/"))


def _named(tree):
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf


def _whole(leaf) -> np.ndarray:
    """All values of an array, also of one that this process has only a part of."""
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf)


def _record(array):
    shape = ",".join(map(str, array.shape))
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    digest = hashlib.sha256(native.reshape(-1).view(np.uint8)).hexdigest()
    return f"{array.dtype.name}[{shape}] {digest}"
