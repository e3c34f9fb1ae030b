"""Random weights, published weights as our trees, and the reference arrays."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import hcflow_jax
from hcflow_jax import checkpoints
from tests.platforms import tolerance
from tests.reference import recipe

REFERENCE = Path(recipe.__file__).parent


def randomized(params, seed=0, dtype=jnp.float64):
    """The tree with every array replaced by noise (1×1 convolutions stay well conditioned)."""

    def draw(path, leaf):
        rng = np.random.default_rng([seed, *map(ord, jax.tree_util.keystr(path))])
        noise = rng.standard_normal(leaf.shape)
        if any(getattr(key, "key", None) == "permute" for key in path):
            return jnp.asarray(np.eye(leaf.shape[-1]) + 0.3 * noise / leaf.shape[-1] ** 0.5, dtype)
        kernel = getattr(path[-1], "key", None) == "kernel"
        scale = 0.5 / np.prod(leaf.shape[-4:-1]) ** 0.5 if kernel else 0.1
        return jnp.asarray(scale * noise, dtype)

    return jax.tree_util.tree_map_with_path(draw, params)


def save_randomized(models, folder):
    """{task: path of a checkpoint} of models with random weights, by task."""
    for task, model in models.items():
        shapes = jax.eval_shape(model.init_params, jax.random.key(0))
        checkpoints.save_model(folder / task, model, randomized(shapes, dtype=np.float32))
    return {task: str(folder / task) for task in models}


def nhwc(array):
    """A reference array as this project lays images out."""
    array = np.asarray(array)
    return jnp.asarray(array.transpose(0, 2, 3, 1) if array.ndim == 4 else array)


def assert_reference(found, expected):
    """Within 1e-4 of the expected array's largest value, or what the platform allows."""
    expected = np.asarray(nhwc(expected))
    assert found.shape == expected.shape
    atol = tolerance("recorded") * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@functools.cache
def modules():
    """(arrays of modules.npz, {module: [[name, shape], …]})."""
    manifest = json.loads((REFERENCE / "manifests/modules.json").read_text())
    return np.load(REFERENCE / "modules.npz"), manifest


def module_params(name):
    """The reference weights of one module as a tree keyed like ours."""
    tree = {}
    for full, array in recipe.weights(modules()[1][name]).items():
        *parents, leaf = full.split(".")[1:]
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
        if array.ndim == 4 and leaf == "weight":
            node["kernel"] = array.transpose(2, 3, 1, 0)
        elif leaf == "weight":
            node[leaf] = array
        else:
            node[leaf] = array.reshape(-1)
    return jax.tree.map(jnp.asarray, tree)


def stack(trees):
    """Trees of numbered copies, {"0": …, "1": …}, as one tree with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(trees[k] for k in sorted(trees)))


def stack_rdbs(rrdb):
    """The published tree of an RRDB as ours."""
    return {"RDB": stack(rrdb)}


@functools.cache
def reference_model(case):
    """(arrays of the case's .npz, manifest, model, float32 params)."""
    manifest = json.loads((REFERENCE / f"manifests/{case}.json").read_text())
    state_dict = recipe.weights(manifest["parameters"])
    return np.load(REFERENCE / f"{case}.npz"), manifest, *hcflow_jax.from_torch(state_dict)


def training_model(run):
    """(model, float32 params) that a recorded training started from."""
    manifest = json.loads((REFERENCE / f"manifests/{run}.json").read_text())
    weights = recipe.weights(manifest["parameters"], manifest["actnorm_at_zero"])
    return hcflow_jax.from_torch(weights)


def assert_reached(gradients, all_stacked=False):
    """Every array has a gradient that is not all zero; every copy of a stacked one does."""
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        keys = [getattr(key, "key", "") for key in path]
        axes = 2 if "RRDB_trunks" in keys else 1 if all_stacked or "turns" in keys else 0
        nonzero = np.any(np.asarray(gradient) != 0, tuple(range(axes, gradient.ndim)))
        assert np.all(nonzero), jax.tree_util.keystr(path)


def discriminator_params(state_dict, name):
    """Recorded discriminator weights as the tree of ours; PatchGAN's flat `model.N` renamed."""
    tree = {}
    for full, array in state_dict.items():
        *layer, kind = full.removeprefix(f"{name}.").split(".")
        if layer[0] == "model":
            place = int(layer[1])
            kinds = "conv" if place == 0 or place % 3 else "bn"
            layer = [f"{kinds}{-(-place // 3)}"]
        if array.ndim > 1:
            kind = "kernel"
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        elif layer[0].startswith("bn") and kind == "weight":
            kind = "scale"
        tree.setdefault(layer[0], {})[kind] = jnp.asarray(array)
    return tree
