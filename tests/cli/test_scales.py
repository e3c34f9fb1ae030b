"""The networks of ×2 and ×8 that ship: which command takes them, and what files say of them."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hcflow_jax import cli, images, sampling


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """A photograph in the current folder, and (task, scale) of every network that is loaded."""
    monkeypatch.chdir(tmp_path)
    y, x = np.mgrid[0:61, 0:90]
    images.write("photo.png", 0.5 + 0.4 * np.sin(np.stack([x / 7, y / 9, (x + y) / 11], -1)))
    found, load = [], sampling.load

    def watched(path, task, *args, **named):
        model, params = load(path, task, *args, **named)
        found.append((model.task, model.scale))
        return model, params

    monkeypatch.setattr(sampling, "load", watched)
    return found


def _size(path):
    with Image.open(path) as image:
        return image.size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "network"), [("1.5", 2), ("2", 2), ("2.5", 4), ("4", 4), (None, 4), ("8", 8)]
)
def test_upscale_takes_the_smallest_network_that_gives_the_scale(loaded, scale, network):
    asked = [] if scale is None else ["--scale", scale]
    assert cli.main(["upscale", "photo.png", "-o", "large.png", *asked]) == 0
    assert loaded == [("sr", network)]
    factor = float(scale or 4)
    assert _size("large.png") == (round(90 * factor), int(np.ceil(61 * factor)))


@pytest.mark.slow
def test_small_pictures_of_half_and_of_a_quarter_come_back_from_one_folder(loaded, capsys):
    os.mkdir("small")
    assert cli.main(["downscale", "photo.png", "-o", "small/half.png", "--scale", "2"]) == 0
    assert cli.main(["downscale", "photo.png", "-o", "small/quarter.png"]) == 0
    assert (_size("small/half.png"), _size("small/quarter.png")) == ((45, 31), (23, 16))
    with Image.open("small/half.png") as half, Image.open("small/quarter.png") as quarter:
        assert (half.text["hcflow:scale"], quarter.text["hcflow:scale"]) == ("2", "4")
    del loaded[:]
    assert cli.main(["restore", "small", "-o", "again/"]) == 0
    assert sorted(loaded) == [("rescaling", 2), ("rescaling", 4)]
    photo = images.read("photo.png").rgb
    for name in ("half", "quarter"):
        again = images.read(f"again/{name}_restored.png").rgb
        assert again.shape == photo.shape and np.abs(again - photo).mean() < 0.04
    assert capsys.readouterr().err == ""


def test_a_small_jpeg_of_half_is_refused_as_no_weights_ship(loaded, capsys):
    assert cli.main(["downscale", "photo.png", "-o", "small.jpg", "--scale", "2"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "no rescaling ×2 weights for JPEGs ship" in err


def test_half_a_picture_saved_as_jpeg_is_restored_by_the_weights_of_its_scale(loaded):
    assert cli.main(["downscale", "photo.png", "-o", "half.png", "--scale", "2"]) == 0
    with Image.open("half.png") as image:
        said = "\n".join(f"{key}={value}" for key, value in image.text.items())
        image.save("half.jpg", comment=said, quality=95, subsampling=0)
    del loaded[:]
    assert cli.main(["restore", "half.jpg", "-o", "again.png"]) == 0
    assert loaded == [("rescaling", 2)] and _size("again.png") == (90, 61)


@pytest.mark.parametrize("said", ["7", "0", "-2", "x", "999999999999"])
def test_a_scale_that_no_network_has_is_taken_for_the_usual_one(loaded, said):
    assert cli.main(["downscale", "photo.png", "-o", "small.png"]) == 0
    with Image.open("small.png") as image:
        texts = {**image.text, "hcflow:scale": said}
        pixels = np.asarray(image)
    images.write("small2.png", pixels / 255, info=texts)
    assert cli.main(["restore", "small2.png", "-o", "again.png"]) == 0
    assert _size("again.png") == (90, 61) and loaded[-1] == ("rescaling", 4)


def test_a_checkpoint_of_another_scale_is_refused(loaded, capsys, tmp_path):
    from importlib.resources import files

    shutil.copy(files("hcflow_jax") / "assets/rescaling_x4.npz", "mine.npz")
    words = ["downscale", "photo.png", "-o", "s.png", "--scale", "2", "--checkpoint", "mine.npz"]
    assert cli.main(words) == 2
    assert "mine.npz holds a rescaling ×4 model, not rescaling ×2" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small.png", "small.jpg"])
def test_small_pictures_that_were_searched_for_restore_better(loaded, capsys, name):
    photo, errors = images.read("photo.png").rgb, []
    for steps in ("0", "3"):
        assert cli.main(["downscale", "photo.png", "-o", name, "--refine", steps]) == 0
        assert cli.main(["restore", name, "-o", "again.png"]) == 0
        errors.append(np.square(images.read("again.png").rgb - photo).mean())
    assert errors[1] < 0.97 * errors[0]
    assert capsys.readouterr().err == ""
    assert cli.main(["downscale", "photo.png", "-o", name, "--refine", "-1"]) == 2
    assert "--refine" in capsys.readouterr().err


@pytest.mark.slow
def test_an_evaluation_measures_searched_small_pictures(loaded):
    with Image.open(Path(cli.__file__).parents[1] / "assets/chelsea.png") as photograph:
        photograph.crop((100, 80, 228, 176)).save("photo.png")
    found = []
    for steps in (0, 5):
        asked = ["--task", "rescaling", "--refine", str(steps), "-o", f"report{steps}"]
        assert cli.main(["evaluate", "photo.png", *asked]) == 0
        report = json.loads((Path(f"report{steps}") / "results.json").read_text(encoding="utf-8"))
        name = "shipped_rescaling_T0" + (f"_r{steps}" if steps else "")
        found.append(report["means"][name]["psnr_y"])
    assert found[1] > found[0] + 0.15
