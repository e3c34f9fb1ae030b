"""`hcflow score`: figures held against the model's own, and what is refused."""

import dataclasses
import json
import math
import os
import re
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image

from hcflow_jax import checkpoints, cli, sampling
from hcflow_jax.checkpoints.store import to_save
from hcflow_jax.images.resize import imresize
from hcflow_jax.model import dequantization
from tests.images import profiles
from tests.support import randomized
from tests.tiny import ONE_LEVEL

PHOTO = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
WHOLE = PHOTO[:8, :12]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """{name: checkpoint of a ×2 model}: "sr", "rescaling"; "trained" says its noise.

    "narrow" is sr in bfloat16.
    """
    folder = tmp_path_factory.mktemp("models")
    for name, model in ONE_LEVEL.items():
        shapes = jax.eval_shape(model.init_params, jax.random.key(0))
        params = randomized(shapes, dtype=np.float32)
        checkpoints.save_model(folder / name, model, params)
        if name == "sr":
            loss = {"quant": 32, "dequantization": "published", "nll_weight": 1.0}
            config = {"model": checkpoints.model_config(model), "loss": loss}
            narrow = dataclasses.replace(model, dtype="bfloat16")
            checkpoints.save_model(folder / "narrow", narrow, params)
            with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
                items = to_save({checkpoints.PARAMS: params}, {checkpoints.CONFIG: config})
                checkpointer.save(folder / "trained", items)
    return {name: str(folder / name) for name in ("sr", "rescaling", "trained", "narrow")}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _score(path, *argv):
    """What `hcflow score … --json` writes."""
    assert cli.main(["score", *argv, "--checkpoint", path, "--json", "s.json"]) == 0
    with open("s.json") as file:
        return json.load(file)


def _encoding(path, hr, kind, quant, seed=0):
    model, params = sampling.load(path, as_trained=True)
    hr = np.float32(hr / 255)
    noise = dequantization.noise(kind, jax.random.key(seed), hr.shape, np.float32, quant)
    return jax.jit(model.encode)(params, (hr + noise)[None])


def _expected(path, hr, lr, kind, quant, seed=0):
    """(bits per dimension, nll) by the formulas, from the model's encoding."""
    e, lr = _encoding(path, hr, kind, quant, seed), lr / 255
    density = float(e.log_det[0] + e.log_prior.sum())

    def gaussian(mean):
        std = math.exp(-6)
        return np.sum(-0.5 * ((mean - lr) / std) ** 2 + 6 - 0.5 * math.log(2 * math.pi))

    raw = np.float64(e.lr[0])
    pixels = hr.shape[0] * hr.shape[1]
    bits = -(density + gaussian(raw)) / (3 * pixels * math.log(2)) + math.log2(255)
    rounded = gaussian(np.round(255 * np.clip(raw, 0, 1)) / 255)
    return bits, -(density + rounded) / (pixels * math.log(2)) + math.log2(quant)


def test_a_narrow_network_is_scored_in_float32_where_asked(folder, models):
    exact, narrow = _score(models["sr"], "photo.png"), _score(models["narrow"], "photo.png")
    again = _score(models["narrow"], "photo.png", "--dtype", "float32")
    assert again == exact and (again["dtype"], narrow["dtype"]) == ("float32", "bfloat16")
    assert narrow["mean"]["nll"] != exact["mean"]["nll"]


@pytest.mark.parametrize("name", ["sr", "rescaling"])
def test_figures_are_the_formulas_and_columns_add_up(folder, models, capsys, name):
    found = _score(models[name], "photo.png")
    (picture,) = found["pictures"]
    bits, nll = _expected(models[name], WHOLE, imresize(WHOLE, 1 / 2), "centred", 64)
    np.testing.assert_allclose([picture["bits_per_dim"], picture["nll"]], [bits, nll], rtol=1e-5)
    for column in ("bits_per_dim", "nll"):
        shares = [term[column] for term in picture["terms"].values() if column in term]
        np.testing.assert_allclose(sum(shares), picture[column], rtol=1e-5)
    e, prior = _encoding(models[name], WHOLE, "centred", 64), picture["terms"]["log_prior_0"]
    np.testing.assert_allclose(picture["terms"]["log_det"]["nats"], e.log_det[0], rtol=1e-5)
    np.testing.assert_allclose(prior["nats"], e.log_prior[0, 0], rtol=1e-5)
    latents = WHOLE.size - WHOLE.size / 4
    expected = -prior["nats"] / (math.log(2) * latents)
    np.testing.assert_allclose(prior["bits_per_latent"], expected, rtol=1e-6)
    out = capsys.readouterr().out
    assert f"{name} ×2, noise U(−½, ½)/64 (q of the ×2 recipe), seed 0; LR by bicubic" in out
    sums = f"{picture['bits_per_dim']:,.4f}", f"{picture['nll']:,.4f}"
    (line,) = [line for line in out.splitlines() if line.startswith("photo.png, 12×8 of 13×9: ")]
    assert all(value in line for value in sums)
    (line,) = [line for line in out.splitlines() if line.startswith("sum: ")]
    assert all(value in line for value in sums)
    *table, yardstick, _ = out.splitlines()
    assert max(map(len, table)) <= 100 and yardstick.startswith("8 bits per dimension is what")


def test_noise_is_that_of_the_checkpoints_training(folder, models, capsys):
    (found,) = _score(models["trained"], "photo.png")["pictures"]
    expected = _expected(models["trained"], WHOLE, imresize(WHOLE, 1 / 2), "published", 32)
    np.testing.assert_allclose([found["bits_per_dim"], found["nll"]], expected, rtol=1e-5)
    assert "noise U(0, 1)/32 (as the checkpoint was trained)" in capsys.readouterr().out
    found = _score(models["trained"], "photo.png", "--quant", "255", "--seed", "5")
    lr = imresize(WHOLE, 1 / 2)
    expected = _expected(models["trained"], WHOLE, lr, "published", 255, seed=5)
    np.testing.assert_allclose(found["mean"]["bits_per_dim"], expected[0], rtol=1e-5)
    assert (found["noise"], found["quant"], found["quant_source"]) == ("published", 255, "--quant")


def test_a_given_lr_image_and_the_centre(folder, models):
    """The centre's LR image is the centre of the one given, and rightly placed."""
    lr = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(lr).save("lr.png")
    (found,) = _score(models["sr"], "photo.png", "--lr", "lr.png")["pictures"]
    expected = _expected(models["sr"], WHOLE, lr, "centred", 64)
    np.testing.assert_allclose([found["bits_per_dim"], found["nll"]], expected, rtol=1e-5)
    argv = ["photo.png", "--lr", "lr.png", "--crop", "5", "--max-pixels", "16"]
    (found,) = _score(models["sr"], *argv)["pictures"]
    assert (found["width"], found["height"]) == (4, 4)
    expected = _expected(models["sr"], WHOLE[2:6, 4:8], lr[1:3, 2:4], "centred", 64)
    np.testing.assert_allclose([found["bits_per_dim"], found["nll"]], expected, rtol=1e-5)


def test_both_images_of_a_profile_and_nested_folders(folder, models):
    """HR and LR are taken as coded, whichever way they are named."""
    lr = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    found = []
    for profile in (None, profiles.rgb()):
        os.makedirs("in/deep", exist_ok=True)
        Image.fromarray(PHOTO).save("in/deep/photo.png", icc_profile=profile)
        Image.fromarray(lr).save("lr.png", icc_profile=profile)
        found.append(_score(models["sr"], "in", "--recursive", "--lr", "lr.png")["mean"])
    assert found[0] == found[1]


def test_a_broken_picture_is_left_out_of_the_mean(folder, models, capsys):
    Image.fromarray(255 - WHOLE).save("second.png")
    (folder / "broken.png").write_bytes(b"no picture")
    argv = ["score", "photo.png", "broken.png", "second.png", "--checkpoint", models["sr"]]
    assert cli.main([*argv, "--json", "s.json"]) == 1
    out, err = capsys.readouterr()
    with open("s.json") as file:
        found = json.load(file)
    assert "broken.png" in err and "mean of 2 pictures" in out
    first, second = found["pictures"]
    assert [first["file"], second["file"]] == ["photo.png", "second.png"]
    assert first["nll"] != second["nll"]
    np.testing.assert_allclose(found["mean"]["nll"], (first["nll"] + second["nll"]) / 2)
    terms = [row["terms"]["log_det"]["nats"] for row in (first, second, found["mean"])]
    np.testing.assert_allclose(terms[2], (terms[0] + terms[1]) / 2)


@pytest.mark.parametrize(
    "argv, words",
    [
        (["photo.png", "--max-pixels", "95"], "has 96 pixels, more than 95, .* --crop 8, or "),
        (["photo.png", "--crop", "1"], "--crop 1 is less"),
        (["photo.png", "--lr", "photo.png"], "photo.png is 13×9, .* 6×4"),
        (["photo.png", "thin.png", "--lr", "photo.png"], "one LR image, and 2 pictures"),
        (["thin.png"], "thin.png is 1×7, and ×2 needs 2 pixels"),
        (["absent.png"], "absent.png"),
        (["photo.png", "--json", "absent/s.json"], "absent"),
        (["photo.png", "--json", "."], "is a folder"),
        (["photo.png", "--quant", "0"], "'0'"),
        (["photo.png", "--task", "rescaling"], "sr ×2 model, not rescaling ×2"),
    ],
)
def test_what_cannot_be_scored_is_one_line(folder, models, capsys, argv, words):
    Image.fromarray(PHOTO[:7, :1]).save("thin.png")
    before = sorted(os.listdir("."))
    assert cli.main(["score", *argv, "--checkpoint", models["sr"]]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and sorted(os.listdir(".")) == before
    assert re.search(words, err), err


def test_a_likelihood_that_is_not_finite_is_told(folder, models, capsys, tmp_path):
    model, params = checkpoints.load_model(models["sr"])
    norm = params["level0"]["flow"]["turns"]["affine"]["actnorm"]
    norm["logs"] = norm["logs"] + 200
    checkpoints.save_model(tmp_path / "wild", model, params)
    argv = ["score", "photo.png", "--checkpoint", "wild", "--json", "s.json"]
    assert cli.main(argv) == 2
    assert "photo.png: the network's likelihood is not finite" in capsys.readouterr().err
    assert not os.path.exists("s.json")


@pytest.mark.parametrize(
    "argv",
    [
        ["score", "photo.png", "--json", "photo.png"],
        ["score", "photo.png", "--lr", "lr.png", "--json", "lr.png"],
        ["latents", "photo.png", "-o", "./photo.png"],
        ["latents", "photo.png", "-o", "x.png", "--json", "x.png"],
    ],
)
def test_results_do_not_overwrite_what_is_read(folder, models, capsys, argv):
    Image.fromarray(PHOTO).save("lr.png")
    before = {name: Path(name).read_bytes() for name in ("photo.png", "lr.png")}
    assert cli.main([*argv, "--checkpoint", models["sr"]]) == 2
    assert "would overwrite" in capsys.readouterr().err
    assert before == {name: Path(name).read_bytes() for name in before}
    assert not os.path.exists("x.png")
