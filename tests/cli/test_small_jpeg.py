"""Small pictures as JPEGs: what they say, and by which weights they are restored."""

import io
import os
import shutil
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from hcflow_jax import cli, images, sampling
from hcflow_jax.images import metrics, resize


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Photographs, and weights for JPEGs that can be told from the others."""
    monkeypatch.chdir(tmp_path)
    y, x = np.mgrid[0:61, 0:90]
    waves = 0.5 + 0.4 * np.sin(np.stack([x / 7, y / 9, (x + y) / 11], -1))
    images.write("photo.png", waves)
    images.write("grey.png", waves[..., :1].repeat(3, -1), grey=True)
    loaded = []
    load = sampling.load

    def watched(path, task, scale, *, dtype, jpeg):
        loaded.append(path or ("jpeg" if jpeg else "png"))
        return load(path, task, scale, dtype=dtype, jpeg=jpeg)

    monkeypatch.setattr(sampling, "load", watched)
    return loaded


def _comment(path):
    with Image.open(path) as image:
        return image.info["comment"].decode().splitlines()


def test_a_small_jpeg_is_restored_to_the_size_and_colours_of_the_original(folder, capsys):
    for name, grey in ("photo", "0"), ("grey", "1"):
        assert cli.main(["downscale", f"{name}.png", "-o", "small.jpg"]) == 0
        assert _comment("small.jpg") == [
            "hcflow:size=90x61",
            f"hcflow:grey={grey}",
            "hcflow:scale=4",
            "hcflow:weights=jpeg",
        ]
        assert cli.main(["restore", "small.jpg", "-o", f"{name}_again.png"]) == 0
        with Image.open(f"{name}_again.png") as image:
            assert image.size == (90, 61) and image.mode == ("L" if grey == "1" else "RGB")
        error = images.read(f"{name}_again.png").rgb - images.read(f"{name}.png").rgb
        assert np.abs(error).mean() < 0.04
    assert folder == ["jpeg"] * 4 and capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize(("quality", "gain"), [(70, 0.5), (90, 1.2)])
def test_the_shipped_weights_are_better_than_bicubic(tmp_path, monkeypatch, quality, gain):
    """Of a photograph of no training, both small pictures saved as the same kind of JPEG."""
    monkeypatch.chdir(tmp_path)
    hr = np.asarray(Image.open(files("hcflow_jax") / "assets/chelsea.png"))
    Image.fromarray(hr).save("photo.png")
    lr = resize.imresize(hr, 1 / 4)
    Image.fromarray(lr).save("bicubic.jpg", quality=quality, subsampling="4:4:4")
    bicubic = resize.imresize(np.asarray(Image.open("bicubic.jpg")), 4)
    for words in (
        ["downscale", "photo.png", "-o", "small.jpg", "--quality", str(quality)],
        ["restore", "small.jpg", "-o", "again.png"],
    ):
        assert cli.main(words) == 0
    assert metrics.psnr(np.asarray(Image.open("small.jpg")), lr) > 30
    again = np.asarray(Image.open("again.png"))
    assert metrics.psnr_y(again, hr, 4) > metrics.psnr_y(bicubic, hr, 4) + gain


def test_quality_is_that_of_the_file(folder, capsys):
    for name, options in (
        ("default", []),
        ("ninety", ["--quality", "90"]),
        ("low", ["--quality", "20"]),
    ):
        assert cli.main(["downscale", "photo.png", "-o", f"{name}.jpg", *options]) == 0
    with Image.open("default.jpg") as default, Image.open("ninety.jpg") as ninety:
        assert default.quantization == ninety.quantization
    assert os.path.getsize("low.jpg") < os.path.getsize("default.jpg")
    assert cli.main(["downscale", "photo.png", "--quality", "90"]) == 2
    assert "PNG loses nothing; leave out --quality" in capsys.readouterr().err


def test_a_folder_of_both_is_restored_each_by_its_weights(folder, capsys):
    assert cli.main(["downscale", "photo.png", "grey.png", "-o", "small", "--format", "jpg"]) == 0
    assert cli.main(["downscale", "photo.png", "-o", "small/"]) == 0
    shutil.copy("photo.png", "small/ordinary.png")
    del folder[:]
    assert cli.main(["restore", "small"]) == 0
    assert sorted(folder) == ["jpeg", "png"]
    assert sorted(name for name in os.listdir("small") if "restored" in name) == [
        "grey_lr_restored.png",
        "photo_lr_jpg_restored.png",
        "photo_lr_png_restored.png",
    ]
    assert "left out: 1 picture that `downscale` did not write" in capsys.readouterr().err


def test_a_small_png_that_was_saved_as_jpeg_is_told_about(folder, capsys):
    assert cli.main(["downscale", "photo.png", "-o", "small.png"]) == 0
    with Image.open("small.png") as image:
        said = "\n".join(f"{key}={value}" for key, value in image.text.items())
        image.save("plain.jpg")
        image.save("said.jpg", comment=said)  # as programs do that keep what a picture says
    del folder[:]
    assert cli.main(["restore", "plain.jpg", "said.jpg"]) == 0
    plain, said = capsys.readouterr().err.splitlines()
    assert plain.startswith("plain.jpg: not as `downscale` writes it")
    assert said.startswith("said.jpg: a small PNG that was saved again as JPEG")
    assert folder == ["jpeg"]


def test_named_weights_are_taken_for_both(folder):
    weights = os.path.join(os.path.dirname(images.__file__), "../assets/rescaling_x4.npz")
    assert cli.main(["downscale", "photo.png", "-o", "a.jpg", "--checkpoint", weights]) == 0
    assert cli.main(["restore", "a.jpg", "--checkpoint", weights]) == 0
    assert folder == [weights] * 2
    assert _comment("a.jpg") == ["hcflow:size=90x61", "hcflow:grey=0", "hcflow:scale=4"]


@pytest.mark.parametrize("comment", [b"", b"\xff\xfe", b"hcflow:size", b"hcflow:size=9x9\n"])
def test_comments_of_others_are_no_trouble(folder, capsys, comment):
    out = io.BytesIO()
    Image.new("RGB", (20, 12), "teal").save(out, "JPEG", comment=comment)
    with open("x.jpg", "wb") as file:
        file.write(out.getvalue())
    code = cli.main(["restore", "x.jpg"])
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    if b"=" in comment:
        assert code == 2 and "was made from 9×9" in err
    elif b"size" in comment:
        assert code == 2 and "is not a size" in err
    else:
        assert code == 0 and "not as `downscale` writes it" in err
