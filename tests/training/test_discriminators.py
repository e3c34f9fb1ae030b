"""Discriminators and VGG19 features against recorded figures; the weights' file."""

import hashlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcflow_jax import fields
from hcflow_jax.checkpoints import CheckpointError
from hcflow_jax.training import perceptual
from hcflow_jax.training.discriminators import PatchGAN, VGGDiscriminator
from hcflow_jax.training.sections import SRLoss
from tests.platforms import accelerator
from tests.reference import recipe
from tests.support import assert_reference, discriminator_params, modules, nhwc


def _images(name, side, count=2):
    images = [recipe.smooth_image(f"{name}/{i}", side, side) for i in range(count)]
    return nhwc(np.stack(images))


@accelerator
@pytest.mark.parametrize(
    "name, network, side",
    [
        ("discriminator_vgg_128", VGGDiscriminator(), 128),
        ("discriminator_vgg_160", VGGDiscriminator(), 160),
        ("discriminator_patchgan", PatchGAN(features=8, layers=3), 24),
    ],
)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_discriminators_are_the_recorded_ones(name, network, side, mode):
    arrays, manifest = modules()
    params = discriminator_params(recipe.weights(manifest[name]), name)
    images = _images(name, side)
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), images))
    jax.tree.map(
        lambda a, b: np.testing.assert_equal(a.shape, b.shape), variables["params"], params
    )
    stats = jax.tree_util.tree_map_with_path(
        lambda path, s: jnp.full(s.shape, float(path[-1].key == "var")), variables["batch_stats"]
    )
    apply = jax.jit(lambda v, x: network.apply(v, x, mode == "train", mutable=["batch_stats"]))
    logits, new = apply({"params": params, "batch_stats": stats}, images)
    assert_reference(logits, arrays[f"{name}/{mode}"])
    moved = jax.tree.map(lambda a, b: np.any(a != b), stats, new["batch_stats"])
    assert all(jax.tree.leaves(moved)) == (mode == "train")


@pytest.fixture(scope="module")
def vgg19():
    """Recorded weights by torchvision's names."""
    weights = recipe.weights(modules()[1]["vgg19"])
    return {
        name.removeprefix("vgg19."): array * (1.4 if array.ndim == 4 else 1)
        for name, array in weights.items()
    }


def test_features_are_the_recorded_ones(vgg19):
    params = perceptual.from_torch(vgg19)
    found = jax.jit(perceptual.vgg19)(params, _images("vgg19", 64))
    assert_reference(found, modules()[0]["vgg19_conv5_4"])


def test_weights_come_from_a_checked_file(vgg19, tmp_path, monkeypatch):
    path = tmp_path / "vgg19.npz"
    np.savez(path, **vgg19)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    params = perceptual.load(path, digest[:8])
    np.testing.assert_array_equal(
        params["34"]["kernel"][1, 2], vgg19["features.34.weight"][:, :, 1, 2].T
    )
    with pytest.raises(CheckpointError, match=f"{digest[:12]}.*dcbb9e9d.*config.loss.vgg_sha256"):
        perceptual.load(path)


def test_weights_of_another_network_are_refused(vgg19, tmp_path):
    lacking = {k: v for k, v in vgg19.items() if k != "features.5.bias"}
    with pytest.raises(ValueError, match=r"features\.5\.bias .*\(128,\), found none"):
        perceptual.from_torch(lacking)
    np.savez(tmp_path / "x.npz", **{"features.0.weight": np.zeros((1, 2, 3))})
    with pytest.raises(CheckpointError, match=r"features\.0\.weight .*\(1, 2, 3\).*loss\.vgg="):
        perceptual.load(tmp_path / "x.npz", "")


@pytest.mark.parametrize("path", ["", "absent.pth"])
def test_a_missing_file_says_where_to_get_it(path):
    with pytest.raises(CheckpointError, match=r"vgg19-dcbb9e9d\.pth.*--config\.loss\.vgg=FILE"):
        perceptual.load(path)


def test_the_remedy_names_fields_that_exist():
    named = re.findall(r"--config\.loss\.(\w+)", perceptual.REMEDY)
    assert set(named) == {"vgg", "perceptual_weight"}
    assert set(named) <= fields.rules(SRLoss).keys()
