"""Published checkpoints to parameters and back: names, shapes and layouts.

`published_entries` specifies the names.
"""

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hcflow_jax import bijectors
from hcflow_jax.errors import UserError
from hcflow_jax.model import HCFlow
from hcflow_jax.model.networks import RDBS

_COND = "flow.level{}_condFlow."

_WRAPPERS = re.compile(r"((module|_orig_mod|netG|generator)\.)+")
"""What DataParallel, torch.compile and training frameworks put before names."""

MAX_LEVELS, MAX_SIDE = 6, 2**16
"""Levels of a model that is inferred, ×64, and an array's side: checked before memory is taken."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One published array: its name and shape, and where its values are in our parameters.

    Attributes:
      path: keys into the parameter tree; None for the fixed Haar signs.
      index: into the leading axes of our array, where it is stacked; else ().
    """

    name: str
    shape: tuple[int, ...]
    path: tuple[str, ...] | None
    index: tuple[int, ...] = ()


@functools.lru_cache(maxsize=4)
def _param_shapes(model):
    return jax.eval_shape(model.init_params, jax.random.key(0))


def _published_shape(leaf: str, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if leaf == "kernel":
        return (shape[3], shape[2], shape[0], shape[1])
    if ".actnorm." in name:
        return (1, *shape, 1, 1)
    if leaf == "logs":
        return (*shape, 1, 1)
    return shape


def _leaves(tree, path=()):
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value.shape


def _entries(prefix, path, tree, index=()):
    """Entries of a subtree whose keys are the published names, at `index` where it is stacked."""
    for keys, shape in _leaves(tree):
        name = prefix + ".".join(keys).replace("kernel", "weight")
        shape = _published_shape(keys[-1], name, shape[len(index) :])
        yield Entry(name, shape, (*path, *keys), index)


def _step_entries(prefix, path, tree, number, cycle, count):
    """Entries of flow step `number` of the `count` in an `alternate` chain."""
    keys, index = bijectors.locate(number, cycle, count)
    stacked = () if index is None else (index,)
    return _entries(prefix, (*path, *keys), tree[keys[0]][keys[1]], stacked)


def _trunk_entries(prefix, path, tree, blocks):
    """Entries of a level's features, whose two trunks of `blocks` RRDBs are one stack."""
    rrdbs = [(t, n) for t, count in enumerate(blocks) for n in range(count)]
    for key, value in tree.items():
        if key != "RRDB_trunks":
            yield from _entries(f"{prefix}{key}.", (*path, key), value)
            continue
        for (i, (t, n)), j in itertools.product(enumerate(rrdbs), range(RDBS)):
            name = f"{prefix}RRDB_trunk{t}.{n}.RDB{j + 1}."
            yield from _entries(name, (*path, key, "RDB"), value["RDB"], (i, j))


def published_entries(model: HCFlow) -> Iterator[Entry]:
    """Every array of the model's published checkpoint.

    `flow.layers.N` numbers one flat list: per level the squeeze, its unconditional steps, the
    split. `flow.level{l}_condFlow` is a level's trunk, conditional steps and prior (`f`).
    """
    if model.step is not None:
        raise UserError(
            "published names are for built-in flow steps; keep others by checkpoints.save_model"
        )
    shapes = _param_shapes(model)
    layer = 0
    for i, level in enumerate(model.levels):
        top, cond = f"level{i}", _COND.format(i)
        tree = shapes[top]
        if model.squeeze == "haar":
            channels = level.split.keep + level.prior.channels
            yield Entry(f"flow.layers.{layer}.haar_weights", (channels, 1, 2, 2), None)
        count = model.steps[i] - model.conditional_steps[i]
        for k in range(count):
            prefix = f"flow.layers.{layer + 1 + k}."
            yield from _step_entries(prefix, (top, "flow"), tree["flow"], k, model.cycle, count)
        layer += count + 2
        yield from _trunk_entries(cond, (top, "trunk"), tree["trunk"], model.per_level("blocks")[i])
        for k in range(model.conditional_steps[i]):
            prefix = f"{cond}additional_flow_steps.{k}."
            yield from _step_entries(
                prefix,
                (top, "conditional"),
                tree["conditional"],
                k,
                ("affine",),
                model.conditional_steps[i],
            )
        yield from _entries(f"{cond}f.", (top, "prior"), tree["prior"])
        yield from _entries(f"{cond}guard.", (top, "guard"), tree.get("guard", {}))


def _haar_weights(channels):
    return np.tile(bijectors.squeeze.HAAR_SIGNS.reshape(4, 1, 2, 2), (channels // 4, 1, 1, 1))


def from_torch(state_dict: Mapping[str, np.ndarray]) -> tuple[HCFlow, dict]:
    """The model and parameters of a published checkpoint, inferred from names and shapes alone.

    Args:
      state_dict: {name: array} in PyTorch's layouts; names may start with "module.", "_orig_mod.",
        "netG." or "generator.". Where some start with one of the last two, the others are of
        other networks and are ignored.

    Returns:
      (model, params): depth, steps, widths, squeeze, permutation, couplings and task are those
      that the names and shapes imply.

    Raises:
      UserError: quoting the name, and the expected and found shape, of the first array that is
        missing, unknown, of another shape, not finite, or, a 1×1 convolution's, singular.
    """
    names = _own_names(state_dict)
    arrays = {own: np.asarray(state_dict[name]) for own, name in names.items()}
    model = check_shapes({name: array.shape for name, array in arrays.items()})
    shapes = _param_shapes(model)
    params = jax.tree.map(lambda s: np.zeros(s.shape, np.float32), shapes)
    for entry in published_entries(model):
        array = arrays[entry.name]
        _check_values(entry, array)
        if entry.path is None:
            continue
        *parents, leaf = entry.path
        node = params
        for key in parents:
            node = node[key]
        ours = array.transpose(2, 3, 1, 0) if leaf == "kernel" else array
        node[leaf][entry.index] = ours.reshape(node[leaf][entry.index].shape)
    return model, jax.tree.map(jnp.asarray, params)


def _own_names(names: Iterable[str]) -> dict[str, str]:
    """{a generator's name without what it was wrapped in: its full name}, of no other network."""
    wrapped = {name: match[0] for name in names if (match := _WRAPPERS.match(name))}
    generators = [name for name, prefix in wrapped.items() if re.search("netG|generator", prefix)]
    own = {}
    for name in generators or names:
        stripped = name.removeprefix(wrapped.get(name, ""))
        if stripped in own:
            raise UserError(f"{stripped}: expected it once, found {own[stripped]} and {name}")
        own[stripped] = name
    return own


def check_shapes(shapes: Mapping[str, tuple[int, ...]]) -> HCFlow:
    """The model whose published checkpoint has arrays of exactly these names and shapes.

    Names may have the prefixes of `from_torch`. UserError as there.
    """
    shapes = {own: shapes[name] for own, name in _own_names(shapes).items()}
    for name, shape in shapes.items():
        if not all(0 < side <= MAX_SIDE for side in shape):
            raise UserError(f"{name}: expected sides from 1 to {MAX_SIDE}, found {shape}")
    model = infer_model(shapes)
    entries = list(published_entries(model))
    for entry in entries:
        found = shapes.get(entry.name)
        if found is None:
            raise UserError(f"{entry.name}: expected an array of {entry.shape}, found none")
        if found != entry.shape:
            raise UserError(f"{entry.name}: expected {entry.shape}, found {found}")
    unknown = sorted(shapes.keys() - {entry.name for entry in entries})
    if unknown:
        name = unknown[0]
        raise UserError(f"{name}: expected no such array, found one of {shapes[name]}")
    return model


def _check_values(entry, array):
    if array.dtype.kind not in "fiu":
        raise UserError(f"{entry.name}: expected real numbers, found {array.dtype}")
    if not np.all(np.abs(array) <= np.finfo(np.float32).max):
        raise UserError(f"{entry.name}: expected numbers, found NaN, infinity or beyond float32")
    if entry.path is None and not np.array_equal(array, _haar_weights(entry.shape[0])):
        raise UserError(f"{entry.name}: expected the Haar signs, found other numbers")
    if entry.name.endswith(".permute.weight"):
        rank = np.linalg.matrix_rank(np.float64(array), rtol=np.finfo(np.float32).eps)
        if rank < len(array):
            raise UserError(
                f"{entry.name}: expected a matrix that can be inverted, found one of rank {rank} "
                f"of {len(array)}"
            )


def to_published(model: HCFlow, params: Mapping) -> dict[str, np.ndarray]:
    """{published name: float32 array}: the inverse of `from_torch`."""
    state_dict = {}
    for entry in published_entries(model):
        if entry.path is None:
            state_dict[entry.name] = _haar_weights(entry.shape[0]).astype(np.float32)
            continue
        array: Any = params
        for key in entry.path:
            array = array[key]
        array = np.asarray(array[entry.index], np.float32)
        array = array.transpose(3, 2, 0, 1) if entry.path[-1] == "kernel" else array
        state_dict[entry.name] = array.reshape(entry.shape)
    return state_dict


def parameter_count(model: HCFlow) -> int:
    """Number of values in the published checkpoint, including the fixed Haar signs."""
    return sum(math.prod(entry.shape) for entry in published_entries(model))


def _indices(shapes, pattern):
    """The integers, sorted, that the group of `pattern` matches in the names."""
    found = (re.match(pattern, name) for name in shapes)
    return sorted({int(match.group(1)) for match in found if match and len(match.group(1)) < 9})


def _any(shapes, pattern):
    """Whether any name matches."""
    return any(re.match(pattern, name) for name in shapes)


def _shape(shapes, name, rank):
    if name not in shapes:
        raise UserError(f"{name}: expected an array of rank {rank}, found none")
    if len(shapes[name]) != rank:
        raise UserError(f"{name}: expected rank {rank}, found shape {shapes[name]}")
    return shapes[name]


def infer_model(shapes: Mapping[str, tuple[int, ...]]) -> HCFlow:
    """The model whose published checkpoint has arrays of these names and shapes.

    Raises:
      UserError: quoting the name of the first array that is missing or fits no model. Arrays from
        which nothing is inferred are not checked: `from_torch` does that.
    """
    depth = len(_indices(shapes, r"flow\.level(\d+)_condFlow\."))
    if depth > MAX_LEVELS:
        raise UserError(
            f"{_COND.format(MAX_LEVELS)}*: expected {MAX_LEVELS} levels at most, found {depth}"
        )
    if depth == 0:
        raise UserError(
            "flow.level0_condFlow.conv_first.weight: expected it in an HCFlow checkpoint, "
            "found none"
        )
    of_steps = _indices(shapes, r"flow\.layers\.(\d+)\.(?!haar_weights$)")
    steps, conditional, layer, first_steps = [], [], 0, []
    for i in range(depth):
        count = 0
        while layer + 1 + count in of_steps:
            count += 1
        first_steps.append(f"flow.layers.{layer + 1}." if count else None)
        layer += count + 2
        extra = _indices(shapes, re.escape(_COND.format(i)) + r"additional_flow_steps\.(\d+)\.")
        conditional.append(len(extra))
        steps.append(count + len(extra))
    trunks = [_infer_trunk(shapes, _COND.format(i)) for i in range(depth)]
    blocks, features, growth = zip(*trunks, strict=True)
    top = _COND.format(depth - 1)
    image_channels = _shape(shapes, f"{top}conv_first.weight", 4)[1]
    joint = _shape(shapes, f"{top}f.weight", 4)[1]
    return HCFlow(
        task="sr" if joint == 2 * features[-1] else "rescaling",
        steps=tuple(steps),
        conditional_steps=tuple(conditional),
        blocks=_merged(blocks),
        features=_merged(features),
        growth=_merged(growth),
        image_channels=image_channels,
        guard=_any(shapes, r"flow\.level\d+_condFlow\.guard\."),
        squeeze="haar" if _any(shapes, r"flow\.layers\.\d+\.haar_weights$") else "checkerboard",
        **_infer_steps(shapes, first_steps, image_channels),
        **_infer_conditional(shapes, conditional),
    )


def _merged(values):
    """One value where all levels have the same, else one per level, the first for None."""
    known = [value for value in values if value is not None]
    if len(set(known)) == 1:
        return known[0]
    return tuple(known[0] if value is None else value for value in values)


def _infer_trunk(shapes, prefix):
    """((RRDBs of trunk 0, of trunk 1), features, growth) of one level."""
    blocks = [_indices(shapes, re.escape(prefix) + rf"RRDB_trunk{n}\.(\d+)\.") for n in (0, 1)]
    features = _shape(shapes, f"{prefix}conv_first.weight", 4)[0]
    growth = _shape(shapes, f"{prefix}RRDB_trunk0.0.RDB1.conv1.weight", 4)[0]
    return (len(blocks[0]), len(blocks[1])), features, growth


def _infer_steps(shapes, first_steps, image_channels):
    """The fields to be inferred from unconditional steps; none, for the defaults, without them."""
    found = [first and _shape(shapes, f"{first}affine.f.conv1.weight", 4) for first in first_steps]
    if not any(found):
        return {}
    layer = r"flow\.layers\.\d+\."
    inputs = next(shape[1] for shape in found if shape)
    return {
        "hidden": _merged([shape and shape[0] for shape in found]),
        "coupling": "shift" if inputs == image_channels else "affine",
        "permutation": "conv1x1" if _any(shapes, layer + r"permute\.weight$") else "none",
        "net": "dense_block" if _any(shapes, layer + r"affine\.f\.conv5\.weight$") else "fcn",
    }


def _infer_conditional(shapes, conditional):
    """{"conditional_hidden": width} of the conditional steps; {}, for the default, without them."""
    name = "{}additional_flow_steps.0.affine.f.conv1.weight"
    names = [name.format(_COND.format(i)) if n else None for i, n in enumerate(conditional)]
    widths = [name and _shape(shapes, name, 4)[0] for name in names]
    return {"conditional_hidden": _merged(widths)} if any(widths) else {}
