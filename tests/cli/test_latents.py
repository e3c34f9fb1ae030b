"""`hcflow encode`, `decode` and `latents` on files."""

import dataclasses
import json
import os
import re

import jax
import numpy as np
import pytest
from PIL import Image

from hcflow_jax import checkpoints, cli, images, sampling
from hcflow_jax.sampling import encoding
from tests.images import profiles
from tests.support import randomized
from tests.tiny import ONE_LEVEL

PHOTO = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)


def _save(path, model, seed=0, change=lambda params: params):
    shapes = jax.eval_shape(model.init_params, jax.random.key(0))
    checkpoints.save_model(path, model, change(randomized(shapes, seed, np.float32)))
    return str(path)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """{name: path of a ×2 checkpoint}: "sr", "rescaling"; sr with "other" weights, or "narrow"."""
    folder = tmp_path_factory.mktemp("models")
    made = {name: _save(folder / name, model) for name, model in ONE_LEVEL.items()}
    narrow = dataclasses.replace(ONE_LEVEL["sr"], dtype="bfloat16")
    others = {"other": _save(folder / "other", ONE_LEVEL["sr"], seed=1)}
    return made | others | {"narrow": _save(folder / "narrow", narrow)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _fails(capsys, argv, words):
    """The command exits with 2 and one line, and leaves the folder as it was."""
    before = {name: os.stat(name).st_mtime_ns for name in os.listdir(".")}
    assert cli.main(argv) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and re.search(words, err), err
    assert {name: os.stat(name).st_mtime_ns for name in os.listdir(".")} == before


def _encode(models, name="sr", source="photo.png"):
    argv = ["encode", source, "-o", "x.npz", "--checkpoint", models[name]]
    assert cli.main(argv) == 0
    with np.load("x.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("name", ["sr", "rescaling"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_pictures_come_back_to_the_bit(folder, models, name, mode):
    image = Image.fromarray(PHOTO).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(PHOTO[..., 0] // 2 + 1))
    image.save("photo.png")
    found = _encode(models, name)
    assert found["lr"].shape == (5, 7, 3) and found["latents_0"].shape == (5, 7, 9)
    assert {str(found[n].dtype) for n in found if n != "info"} == {"float32"}
    argv = ["decode", "x.npz", "-o", "again.png", "--checkpoint", models[name]]
    assert cli.main(argv) == 0
    with Image.open("again.png") as again:
        assert again.mode == mode
        np.testing.assert_array_equal(np.asarray(again), np.asarray(image))


@pytest.mark.parametrize("name", ["p3", "linear", "grey"])
def test_pictures_come_back_with_their_profile(folder, models, capsys, name):
    linear, grey = profiles.rgb(profiles.P3, (1.0,)), profiles.grey(1.8)
    profile = {"p3": profiles.rgb(), "linear": linear, "grey": grey}[name]
    photo = Image.fromarray(PHOTO).convert("L" if name == "grey" else "RGB")
    photo.save("photo.png", icc_profile=profile)
    _encode(models)
    argv = ["decode", "x.npz", "--checkpoint", models["sr"], "-o"]
    assert cli.main([*argv, "again.png"]) == 0
    with Image.open("again.png") as again:
        assert again.info["icc_profile"] == profile and again.mode == photo.mode
        np.testing.assert_array_equal(np.asarray(again), np.asarray(photo))
    _fails(capsys, [*argv, "a.bmp"], "a.bmp: BMP keeps no such colour profile; name a .png")
    _fails(capsys, [*argv, "a.avif"], "a.avif: AVIF would not keep the picture exactly")


def test_what_is_kept_is_the_models_encoding(folder, models, capsys):
    found = _encode(models)
    assert "x.npz  13×9, 420 values; decodes to the same 8 bits" in capsys.readouterr().out
    model, params = sampling.load(models["sr"])
    hr = images.pad_reflect(np.float32(PHOTO / 255), 2)
    e = jax.jit(model.encode)(params, hr[None])
    np.testing.assert_allclose(found["lr"], e.lr[0], atol=1e-5)
    np.testing.assert_allclose(found["latents_0"], e.latents[0][0], atol=1e-5)


def test_narrow_networks_encode_in_float32(folder, models):
    found, expected = _encode(models, "narrow"), _encode(models)
    for name in ("lr", "latents_0"):
        np.testing.assert_array_equal(found[name], expected[name])


def test_one_pixel_comes_back(folder, models):
    Image.fromarray(PHOTO[:1, :1]).save("photo.png")
    _encode(models)
    assert cli.main(["decode", "x.npz", "-o", "a.png", "--checkpoint", models["sr"]]) == 0
    np.testing.assert_array_equal(images.read_uint8("a.png"), PHOTO[:1, :1])


def test_a_picture_that_would_not_come_back_is_refused(folder, capsys):
    """Where z₂ is below the precision of the shift that is added to it, and taken off again."""

    def lossy(params):
        norm = params["level0"]["flow"]["turns"]["affine"]["actnorm"]
        norm["logs"] = norm["logs"] - 20
        return params

    path = _save(folder / "lossy", ONE_LEVEL["sr"], change=lossy)
    argv = ["encode", "photo.png", "-o", "x.npz", "--checkpoint", path]
    _fails(capsys, argv, "photo.png: .* of 351 values would come back changed, .* --checkpoint")


def test_decode_wants_the_weights_that_encoded(folder, models, capsys):
    _encode(models)
    argv = ["decode", "x.npz", "-o", "a.png"]
    other = [*argv, "--checkpoint", models["other"]]
    _fails(capsys, other, "x.npz was encoded by other weights .*; name its own by --checkpoint")
    _fails(capsys, [*argv, "--checkpoint", models["rescaling"]], "rescaling ×2 model, not sr ×2")
    _fails(capsys, argv, "x.npz was encoded by other weights")  # than those of ×2 that ship


def _damage(**changes):
    """A change of arrays; None takes one away."""

    def change(arrays):
        arrays = arrays | changes
        return {name: array for name, array in arrays.items() if array is not None}

    return change


def _saying(**values):
    """A change of what a file says of itself."""

    def change(arrays):
        return arrays | {"info": np.array(json.dumps(json.loads(str(arrays["info"])) | values))}

    return change


@pytest.mark.parametrize(
    "change, words",
    [
        (_damage(lr=None), "x.npz holds no lr"),
        (_damage(latents_0=None), "x.npz holds no latents_0"),
        (_damage(latents_0=np.zeros((5, 7, 8), np.float32)), r"latents_0 is float32 \(5, 7, 8\)"),
        (_damage(lr=np.zeros((5, 7, 3))), "lr is float64"),
        (_damage(alpha=np.zeros((3, 3), np.float32)), r"alpha is float32 \(3, 3\)"),
        (_damage(info=None), "x.npz is no encoded picture; make one by `hcflow encode`"),
        (_damage(info=np.array("x" * 20_000)), "no encoded picture"),
        (_damage(profile=np.zeros(99, np.uint8)), "its colour profile is damaged"),
        (_damage(profile=np.zeros(99, np.int32)), "its colour profile is damaged"),
        (_damage(info=np.array("hello")), "does not say what it holds"),
        (_damage(info=np.array("[1]")), "does not say what it holds"),
        (_saying(format=2), "has format 2, not 1"),
        (_saying(height=10**6, width=10**6), "1,000,000,000,000 pixels.* --max-pixels"),
        (_saying(height="9"), "says nonsense"),
        (_saying(width=-1), "says nonsense"),
        (_saying(width=14, height=200), r"lr is float32 \(5, 7, 3\), not float32 \(100, 7, 3\)"),
        (_saying(tile=7), "a tile of 7 pixels"),
        (_saying(task="zap"), "sr ×2 model, not zap ×2"),
    ],
)
def test_damaged_files_are_named(folder, models, capsys, change, words):
    np.savez("x.npz", **change(_encode(models)))
    argv = ["decode", "x.npz", "-o", "a.png", "--checkpoint", models["sr"]]
    _fails(capsys, argv, words)


@pytest.mark.parametrize(
    "argv, words",
    [
        (["encode", "photo.png", "-o", "x.png"], "x.png: .* name a .npz"),
        (["encode", "photo.png", "-o", "absent/x.npz"], "absent"),
        (["encode", "absent.png", "-o", "x.npz"], "absent.png does not exist"),
        (["encode", "photo.png", "-o", "x.npz", "--max-pixels", "116"], "--max-pixels"),
        (["encode", "photo.png", "-o", "x.npz", "--tile", "100"], "tile of 100"),
        (["decode", "absent.npz", "-o", "a.png"], "absent.npz does not exist"),
        (["decode", "photo.png", "-o", "a.png"], "photo.png is not a readable .npz"),
        (["decode", "pickled.npz", "-o", "a.png"], "pickled.npz is no encoded picture"),
        (["decode", "gs://bucket/x.npz", "-o", "a.png"], "gs://bucket/x.npz .*gcs|copy it here"),
        (["decode", "x.npz", "-o", "a.jpg"], "a.jpg: JPEG .* name a .png"),
        (["latents", "thin.png"], "thin.png is 1×7"),
        (["latents", "photo.png", "-o", "x.npz"], "cannot write .npz"),
        (["latents", "photo.png", "--json", "absent/x"], "absent"),
    ],
)
def test_bad_arguments_are_one_line(folder, models, capsys, argv, words):
    Image.fromarray(PHOTO[:7, :1]).save("thin.png")
    np.savez("pickled.npz", info=np.array([{}], object))
    _fails(capsys, [*argv, "--checkpoint", models["sr"]], words)


def test_latents_of_pictures_together(folder, models, capsys):
    """Noise as in training for super-resolution; figures are numpy's of all values."""
    second = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(second).save("second.png")
    argv = ["latents", "photo.png", "second.png", "--checkpoint", models["sr"]]
    assert cli.main([*argv, "--json", "l.json", "-o", "l.png", "--quant", "8"]) == 0
    out = capsys.readouterr().out
    assert "sr ×2, noise U(−½, ½)/8 (--quant), seed 0" in out
    assert max(map(len, out.splitlines())) <= 100
    with open("l.json") as file:
        found = json.load(file)
    model, params = sampling.load(models["sr"])
    values = []
    for pixels in (PHOTO[:8, :12], second):
        noise = (jax.random.uniform(jax.random.key(0), pixels.shape, np.float32) - 0.5) / 8
        encoded = encoding.encode_picture(model, params, np.float32(pixels / 255 + noise))
        values.append(encoded.latents[0].astype(float).ravel())
    values = np.concatenate(values)
    (level,) = found["levels"]
    assert (found["pictures"], level["values"]) == (2, values.size)
    np.testing.assert_allclose(level["mean"]["value"], values.mean(), rtol=1e-5)
    np.testing.assert_allclose(level["std"]["value"], values.std(), rtol=1e-5)
    assert f"{values.std():.4f}    1 ± {(2 * values.size) ** -0.5:.2g}" in out
    with Image.open("l.png") as picture:
        assert picture.width > 400


def test_rescaling_is_measured_as_trained_without_noise(folder, models, capsys):
    argv = ["latents", "photo.png", "--checkpoint", models["rescaling"]]
    assert cli.main([*argv, "--json", "l.json"]) == 0
    assert "rescaling ×2, no noise, as trained" in capsys.readouterr().out
    model, params = sampling.load(models["rescaling"])
    encoded = encoding.encode_picture(model, params, np.float32(PHOTO[:8, :12] / 255))
    with open("l.json") as file:
        (level,) = json.load(file)["levels"]
    np.testing.assert_allclose(level["std"]["value"], encoded.latents[0].std(), rtol=1e-5)
