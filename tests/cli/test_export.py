"""`hcflow export`: files that run where this package cannot be imported."""

import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcflow_jax import checkpoints, cli, sampling
from hcflow_jax.sampling import back_projection
from tests.support import randomized
from tests.tiny import ONE_LEVEL

PICTURES = np.random.default_rng(0).random((2, 6, 10, 3), np.float32)
SEED, TEMPERATURE = 7, 0.5
ALONE = """
import sys
sys.modules["hcflow_jax"] = None
import jax, numpy as np
pictures, *scalars = np.load("inputs.npz").values()
for name in sys.argv[1:]:
    program = jax.export.deserialize(bytearray(open(name, "rb").read()))
    inputs = [pictures[:1, :4, :4] if "fixed" in name else pictures, *scalars]
    np.save(name, program.call(*inputs[:len(program.in_avals)]))
"""
FILES = {
    "sr": ["sr"],
    "sr.raw": ["sr", "upscale", "--raw", "--dynamic"],
    "sr.fixed.raw": ["sr", "--raw", "--size", "4x4"],
    "rescaling": ["rescaling"],
    "rescaling.down": ["rescaling", "downscale"],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """{"sr", "rescaling": paths of ×2 checkpoints}."""
    folder, found = tmp_path_factory.mktemp("models"), {}
    for name, model in ONE_LEVEL.items():
        shapes = jax.eval_shape(model.init_params, jax.random.key(0))
        checkpoints.save_model(folder / name, model, randomized(shapes, 0, np.float32))
        found[name] = str(folder / name)
    return found


@pytest.fixture(scope="module")
def results(models, tmp_path_factory):
    """{name of FILES: what the file, run by JAX alone in another process, makes of PICTURES}."""
    folder = tmp_path_factory.mktemp("exported")
    for name, (model, *argv) in FILES.items():
        argv = ["export", *argv, "--checkpoint", models[model], "-o", str(folder / name)]
        assert cli.main(argv) == 0
    np.savez(folder / "inputs.npz", PICTURES, np.float32(TEMPERATURE), np.uint32(SEED))
    command = [sys.executable, "-c", ALONE, *FILES]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: np.load(folder / f"{name}.npy") for name in FILES}


def _sample(models, name, pictures=PICTURES):
    model, params = sampling.load(models[name])
    lr, key = jnp.asarray(pictures), jax.random.key(SEED)
    return model.sample(params, key, lr, jnp.float32(TEMPERATURE))


def test_files_alone_sample_as_the_model_does(models, results):
    for name, of in (("sr.raw", "sr"), ("rescaling", "rescaling")):
        expected = _sample(models, of)
        assert results[name].dtype == np.float32 and np.std(expected) > 0.01
        np.testing.assert_allclose(results[name], expected, rtol=0, atol=1e-5)
    fixed = _sample(models, "sr", PICTURES[:1, :4, :4])
    np.testing.assert_allclose(results["sr.fixed.raw"], fixed, rtol=0, atol=1e-5)


def test_upscaling_ends_with_back_projection(models, results):
    model, params = sampling.load(models["sr"])
    lr = jnp.asarray(PICTURES)
    latents = model.draw_latents(jax.random.key(SEED), lr, jnp.float32(TEMPERATURE))
    hr = back_projection.back_projected(lr, model.decode(params, lr, latents))
    np.testing.assert_allclose(results["sr"], jnp.clip(hr, 0, 1), rtol=0, atol=1e-5)
    assert np.abs(results["sr"] - results["sr.raw"]).max() > 0.01


def test_a_file_alone_downscales(models, results):
    model, params = sampling.load(models["rescaling"])
    lr = jnp.clip(model.encode(params, jnp.asarray(PICTURES)).lr, 0, 1)
    assert results["rescaling.down"].shape == (2, 3, 5, 3)
    np.testing.assert_allclose(results["rescaling.down"], lr, rtol=0, atol=1e-5)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("mine")
    return tmp_path


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["-o", "there"], "there exists; name a new one"),
        (["-o", "no/x"], "no is not a folder"),
        (["-o", "x", "--size", "4"], "'4' is no size; give width x height, as 640x480"),
        (["-o", "x", "--size", "2x9"], "2×9 is too small; give 3×3"),
        (["-o", "x", "--size", "4x4", "--dynamic"], "not allowed with"),
        (["restore", "-o", "x", "--raw"], "--raw is for upscale"),
        (["restore", "-o", "x", "--checkpoint", "{sr}"], "sr ×2 model, not rescaling"),
        (["-o", "x", "--raw", "--checkpoint", "{rescaling}"], "--raw is for upscale"),
        (["downscale", "-o", "x", "--size", "6x9", "--checkpoint", "{rescaling}"], "divides by 2"),
        (["-o", "x.onnx"], "pictures of one size; give --size"),
        (["-o", "x", "--format", "onnx"], "pictures of one size; give --size"),
        (["-o", "x.onnx", "--size", "4x4"], "an ONNX file has no back-projection; say --raw"),
        (["-o", "x.onnx", "--size", "4x4", "--dtype", "bfloat16"], "an ONNX file is of float32"),
        (["-o", "-"], "a program goes to a file; name one by -o"),
        (["-o", ""], "a program goes to a file; name one by -o"),
        (["-o", "gs:/b/x"], "gs://b/x "),
    ],
)
def test_what_cannot_be_is_refused(folder, models, capsys, argv, words):
    assert cli.main(["export", *(arg.format(**models) for arg in argv)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and words in err, err
    assert os.listdir() == ["there"] and (folder / "there").read_text() == "mine"


def test_onnx_says_what_it_needs(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    assert cli.main(["export", "downscale", "-o", "x.onnx", "--size", "8x8"]) == 2
    assert "needs jax2onnx; pip install 'hcflow_jax[onnx]'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("command", ["upscale", "restore", "downscale"])
def test_onnx_runtime_gives_equal_pictures(folder, models, command):
    pytest.importorskip("jax2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    name = "sr" if command == "upscale" else "rescaling"
    flags = ["--raw"] if command == "upscale" else []
    model, params = sampling.load(models[name])
    narrow = dataclasses.replace(model, dtype="bfloat16")  # runtimes have no such convolutions
    checkpoints.save_model("narrow", narrow, checkpoints.load_model(models[name])[1])
    argv = ["export", command, *flags, "-o", "x.onnx", "--size", "10x6", "--checkpoint", "narrow"]
    assert cli.main(argv) == 0
    session = onnxruntime.InferenceSession("x.onnx", providers=["CPUExecutionProvider"])
    picture = jnp.asarray(PICTURES[:1])
    if command == "downscale":
        inputs, expected = {"hr": picture}, model.encode(params, picture).lr
    else:
        latents = model.draw_latents(jax.random.key(SEED), picture, jnp.float32(TEMPERATURE))
        expected = model.decode(params, picture, latents)
        inputs = {"lr": picture} | {f"latents_{i}": e for i, e in enumerate(latents)}
    (found,) = session.run(None, {name: np.asarray(array) for name, array in inputs.items()})
    np.testing.assert_allclose(found, jnp.clip(expected, 0, 1), rtol=0, atol=1e-5)
