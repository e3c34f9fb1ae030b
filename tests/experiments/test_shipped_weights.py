"""The scripts that make the weights that ship."""

import dataclasses
import io
import json
import os
import signal
import sys
import types
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hcflow_jax import build_model

FOLDER = Path(__file__).parents[2] / "experiments" / "shipped_weights"
sys.path.append(str(FOLDER))

import batches  # noqa: E402
import cap_noise  # noqa: E402
import explosions  # noqa: E402
import grow  # noqa: E402
import mean  # noqa: E402
import objectives  # noqa: E402
import recipes  # noqa: E402
import train  # noqa: E402
import unit_latents  # noqa: E402


@pytest.fixture(autouse=True)
def float32():
    """What these scripts compute in, as users run them."""
    with jax.enable_x64(False):
        yield


TINY = {"steps": (2, 2), "hidden": 4, "features": 4, "growth": 4}


def _pattern(scale, side):
    """Repeats in every LR pixel, mean 0, mean of magnitudes 1."""
    cell = np.ones((scale, scale))
    cell[:, : scale // 2] = -1
    return np.tile(cell, (side // scale, side // scale))[None, :, :, None] * np.ones(3)


@pytest.mark.parametrize("side", [16, 64, 72])  # fewer cells than a block has, blocks, and a rest
def test_checkerboard_is_of_what_every_lr_pixel_repeats(side):
    hr = jax.random.uniform(jax.random.key(0), (2, side, side, 3))
    found = objectives.checkerboard(hr + 0.1 * _pattern(4, side) + 0.3, hr, 4)
    np.testing.assert_allclose(found, 0.1, rtol=1e-5)
    smooth = hr + jnp.linspace(0, 1, side // 4).repeat(4)[:, None]  # LR pixels shifted as wholes
    np.testing.assert_allclose(objectives.checkerboard(smooth, hr, 4), 0, atol=1e-6)


def _decoding(image):
    """What `objectives.bounds` asks of a model that decodes to `image`."""
    return types.SimpleNamespace(
        scale=4,
        draw_latents=lambda key, lr, temperature: [jnp.zeros(lr.shape)],
        decode=lambda params, lr, latents: image,
    )


def test_bounds_are_of_what_is_beyond_and_of_what_remains():
    lr = jnp.full((1, 4, 4, 3), 0.75)
    key, shape = jax.random.key(0), (1, 16, 16, 3)
    within = objectives.bounds(_decoding(jnp.full(shape, 0.75)), {}, lr, key)
    np.testing.assert_allclose(within, 0, atol=1e-6)
    mildly = objectives.bounds(_decoding(jnp.full(shape, 1.05)), {}, lr, key)
    np.testing.assert_allclose(mildly, 0.25, rtol=1e-5)
    far = objectives.bounds(_decoding(jnp.full(shape, 2.05)), {}, lr, key)
    np.testing.assert_allclose(far, objectives.BEYOND * np.log(2) + 0.25, rtol=1e-5)


def test_strange_images_are_windows_shrunk_or_not_and_patterns_of_8_bits():
    windows = jax.random.randint(jax.random.key(1), (512, 64, 64, 3), 0, 256).astype(jnp.uint8)
    found = np.asarray(batches.strange(windows, 4, jax.random.key(0)))
    assert found.shape == (512, 12, 12, 3)
    np.testing.assert_allclose(found * 255, np.round(found * 255), atol=1e-4)
    assert found.min() == 0 and found.max() == 1
    drawn = np.all(np.round(found * 255) == np.asarray(windows)[:, :12, :12], (1, 2, 3))
    shrunk = np.all(np.abs(found - batches.pair(windows, 4)[1]) < 1e-6, (1, 2, 3))
    np.testing.assert_allclose([drawn.mean(), shrunk.mean()], [2 / 11, 3 / 11], atol=0.06)
    patterns = found[~drawn & ~shrunk]
    counts = [len(np.unique(image.reshape(-1, 3), axis=0)) for image in patterns]
    assert 0.3 < np.mean(np.equal(counts, 2)) < 0.6  # grey noise of one bit, checks, halftones
    repeated = np.all(patterns[:, :-2] == patterns[:, 2:], (1, 2, 3))
    assert 0.03 < repeated.mean() < 0.2  # columns, and the narrowest checks and rows


def test_noise_is_capped_in_the_guard_alone():
    arrays = {
        "a.guard.log_std.low": np.float16([-3.0, -2.0]),
        "a.guard.log_std.high": np.float16([3.5, 0.25]),
        "a.guard.mean.high": np.float16([9.0]),
        "a.weight": np.float16([4.0]),
    }
    found = cap_noise.capped(arrays, 0.5)
    np.testing.assert_array_equal(found["a.guard.log_std.high"], [0.5, 0.25])
    assert all(array.dtype == np.float16 for array in found.values())
    for name in arrays.keys() - {"a.guard.log_std.high"}:
        np.testing.assert_array_equal(found[name], arrays[name])
    with pytest.raises(ValueError, match="begins above -2"):
        cap_noise.capped(arrays, -2)
    with pytest.raises(ValueError, match="no guard"):
        cap_noise.capped({"a.weight": arrays["a.weight"]}, 0.5)


def test_a_mean_is_weighted_and_of_one_network():
    old, new = {"a": np.float16([1, 2])}, {"a": np.float16([3, 6])}
    np.testing.assert_array_equal(mean.mean(old, new, 0.25)["a"], [1.5, 3])
    with pytest.raises(ValueError, match="different"):
        mean.mean(old, {"b": old["a"]}, 0.5)


def test_what_is_outside_includes_what_is_no_number():
    image = np.array([0.0, 1.0, -0.05, 1.2, -0.2, np.nan, np.inf, 0.5])
    assert explosions.outside(image, 0.1) == 0.5
    kinds = [kind for kind, _ in explosions.pictures(20, 48)]
    assert {"text", "noise", "one bit", "saturated", "drawn"} == set(kinds)


def _random(params, key):
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    noisy = [x + 0.05 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, noisy)


def test_a_deepened_network_computes_what_the_shallower_one_does():
    small = build_model({"task": "sr", **TINY, "conditional_steps": (1, 1), "blocks": (1, 1)})
    large = dataclasses.replace(small, blocks=(2, 3))
    params = _random(small.init_params(jax.random.key(0)), jax.random.key(1))
    grown = grow.deepen(small, params, large, jax.random.key(2))
    lr, key = jax.random.uniform(jax.random.key(3), (1, 4, 4, 3)), jax.random.key(4)
    found, kept = (
        jax.jit(m.sample, static_argnums=3)(p, key, lr, 0.7)
        for m, p in [(large, grown), (small, params)]
    )
    np.testing.assert_allclose(found, kept, atol=1e-5)
    with pytest.raises(ValueError, match="fewer"):
        grow.deepen(large, grown, small, jax.random.key(2))


def test_divided_latents_are_units_and_pictures_without_them_stay():
    model = build_model(
        {**recipes.RESCALING, **TINY, "conditional_steps": (0, 0), "blocks": (1, 1)}
    )
    params = _random(model.init_params(jax.random.key(0)), jax.random.key(1))
    hr = jax.random.uniform(jax.random.key(2), (1, 16, 16, 3))
    encode, decode = jax.jit(model.encode), jax.jit(model.decode)
    before = encode(params, hr)
    scales = [jnp.linspace(0.5, 2, e.shape[-1]) for e in before.latents]
    divided = unit_latents.divided(model, params, scales)
    after = encode(divided, hr)
    np.testing.assert_allclose(after.lr, before.lr, atol=1e-5)
    for new, old, c in zip(after.latents, before.latents, scales, strict=True):
        np.testing.assert_allclose(new, old / c, atol=1e-4)
    zeros = [jnp.zeros_like(e) for e in after.latents]
    found, kept = (decode(p, after.lr, zeros) for p in (divided, params))
    np.testing.assert_allclose(found, kept, atol=1e-5)


@pytest.fixture
def data(tmp_path):
    """A file as `pack.py` writes it, of four tiles."""
    rng, names = np.random.default_rng(0), ["photograph", "synthetic"] * 2
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        index = {"tiles": [(name, 1.0) for name in names], "held_out": ["one"]}
        archive.writestr("index.json", json.dumps(index))
        for name, side in [*((f"tiles/{i:05}", 96) for i in range(4)), ("held_out/one", 400)]:
            file = io.BytesIO()
            pixels = rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8)
            Image.fromarray(pixels).resize((side, side)).save(file, "WEBP", lossless=True)
            archive.writestr(f"{name}.webp", file.getvalue())
    return tmp_path / "data.zip"


@pytest.fixture
def handlers():
    """Those of the signals that stop a training, as they were before."""
    numbers = signal.SIGTERM, signal.SIGINT
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.slow
@pytest.mark.usefixtures("handlers")
def test_a_stopped_training_continues_exactly(data, tmp_path, monkeypatch):
    model = build_model({"task": "sr", **TINY, "conditional_steps": (1, 1), "blocks": (1, 1)})
    recipe = recipes.Recipe(model, iterations=4, warmup=1, batch=1, patch=16, nll=0.01)
    tiles, add = batches.Tiles(data), train.Log.add
    limits = types.SimpleNamespace(minutes=5, each=2, budget=None, validate=np.inf)

    def stopping(log, *figures):
        add(log, *figures)
        if log.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = train.train(recipe, tiles, tmp_path / "whole", None, limits)
    with monkeypatch.context() as patch:
        patch.setattr(train.Log, "add", stopping)
        part = train.train(recipe, tiles, tmp_path / "parts", None, limits)
    assert int(part["step"]) == 2
    parts = train.train(recipe, tiles, tmp_path / "parts", None, limits)
    assert int(parts["step"]) == 4
    jax.tree.map(np.testing.assert_array_equal, parts, whole)
    found = train.validate(recipe, whole["ema"], tiles.held_out)
    assert np.isfinite(list(found.values())).all() and found["bicubic"] > 20
