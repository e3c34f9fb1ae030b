"""Several pictures: folders, what fails among them, names that terminals must not see."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from hcflow_jax import cli, images, sampling
from hcflow_jax.cli.main import _parser
from hcflow_jax.images.resize import imresize
from hcflow_jax.images.small import SIZE_KEY
from tests.tiny import RESCALING, SR

PHOTO = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder; models that enlarge and shrink by bicubic interpolation."""

    def sample_all(model, params, pictures, *args, **kwargs):
        for lr, _ in pictures:
            yield sampling.Sample(np.clip(imresize(lr, 4), 0, 1))

    def downscale_all(model, params, pictures, *args, **kwargs):
        for hr in pictures:
            yield np.clip(imresize(hr, 1 / 4), 0, 1)

    def load(path=None, task=None, *_, **__):
        return {"sr": SR, "rescaling": RESCALING}[task], None

    monkeypatch.setattr(sampling, "sample_all", sample_all)
    monkeypatch.setattr(sampling, "downscale_all", downscale_all)
    monkeypatch.setattr(sampling, "load", load)
    monkeypatch.chdir(tmp_path)
    os.mkdir("in")
    for name in ("1.png", "3.png"):
        Image.fromarray(PHOTO).save(f"in/{name}")
    return tmp_path


def _break(name):
    Path(name).write_bytes(Path("in/1.png").read_bytes()[:60])


@pytest.mark.parametrize("command", ["upscale", "downscale", "restore"])
def test_a_broken_picture_does_not_end_a_batch(folder, capsys, command):
    _break("in/2.png")
    open("in/4.png", "w").close()
    force = ["--force"] if command == "restore" else []
    assert cli.main([command, "in", "-o", "new/folder", *force]) == 1
    out, err = capsys.readouterr()
    assert len(os.listdir("new/folder")) == len(out.splitlines()) == 2
    first, second, third = err.splitlines()
    assert first == "hcflow: 2 of 4 pictures failed:"
    assert "in/2.png" in second and "in/4.png is empty; export the image again" in third


def test_a_batch_of_which_nothing_can_be_read(folder, capsys):
    for name in ("in/1.png", "in/3.png"):
        open(name, "w").close()
    assert cli.main(["upscale", "in", "-o", "out"]) == 2
    assert capsys.readouterr().err.startswith("hcflow: 2 of 2 pictures failed:")


def test_a_picture_whose_result_is_refused_does_not_end_a_batch(folder, capsys, monkeypatch):
    def downscale_all(model, params, pictures, *args, **kwargs):
        for i, _ in enumerate(pictures):
            yield np.full((2, 2, 3), np.nan if i == 0 else 0.5)

    monkeypatch.setattr(sampling, "downscale_all", downscale_all)
    assert cli.main(["downscale", "in", "-o", "out"]) == 1
    assert os.listdir("out") == ["3_lr.png"]
    assert "in/1.png: the network's result is not finite" in capsys.readouterr().err


def test_a_full_disk_ends_a_batch_and_what_failed_before_is_still_listed(
    folder, capsys, monkeypatch
):
    _break("in/0.png")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    assert cli.main(["upscale", "in", "-o", "out"]) == 2
    first, second, last = capsys.readouterr().err.splitlines()
    assert first == "hcflow: 1 of 3 pictures failed:" and "in/0.png" in second
    assert "No space left on device" in last and os.listdir("out") == []


def test_a_reader_that_leaves_does_not_end_a_batch(folder, capsys, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli.main(["upscale", "in", "-o", "out"]) == 0
    assert not capsys.readouterr().err and len(os.listdir("out")) == 2


@pytest.mark.parametrize("output", ["new/", "new/folder", "out.d"])
def test_the_folder_of_several_results_is_made(folder, output):
    assert cli.main(["upscale", "in/1.png", "in/3.png", "-o", output]) == 0
    assert sorted(os.listdir(output)) == ["1_x4.png", "3_x4.png"]


def test_a_folder_for_one_result_is_made_where_it_ends_with_a_slash(folder, capsys):
    assert cli.main(["upscale", "in/1.png", "-o", "new/"]) == 0
    assert os.listdir("new") == ["1_x4.png"]
    assert cli.main(["upscale", "in/1.png", "-o", "in/3.png/new/"]) == 2
    assert "cannot make the folder in/3.png/new" in capsys.readouterr().err


def test_more_pixels_than_usual_need_to_be_allowed(folder, capsys):
    assert _parser().parse_args(["upscale", "a"]).max_pixels == images.MAX_PIXELS
    Image.fromarray(PHOTO[:1]).save("in/2.png")
    assert cli.main(["upscale", "in", "-o", "out", "--max-pixels", "47"]) == 1
    assert os.listdir("out") == ["2_x4.png"]
    assert (
        "in/1.png has 48, more than 47 pixels; allow more by --max-pixels"
        in capsys.readouterr().err
    )
    assert cli.main(["upscale", "in", "-o", "out", "--max-pixels", "48"]) == 0


NAME = "a\x1b[31m\nhcflow: done \u202e.png"


@pytest.mark.skipif(os.name != "posix", reason="such names are refused elsewhere")
def test_names_reach_the_terminal_escaped(folder, capsys):
    os.rename("in/1.png", f"in/{NAME}")
    open(f"in/0{NAME}", "w").close()
    assert cli.main(["upscale", "in", "-o", "out"]) == 1
    out, err = capsys.readouterr()
    for text in (out, err):
        assert len(text.splitlines()) == 2 and "a\\x1b[31m hcflow: done \\u202e" in text
        assert "\x1b" not in text and "\u202e" not in text
    assert f"{NAME.removesuffix('.png')}_x4.png" in os.listdir("out")


@pytest.mark.parametrize("text", ["9" * 4000 + "x2", "8x" + "9" * 4000, "\x1b[31m" * 99])
def test_a_long_size_is_not_printed_whole(folder, capsys, text):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text(SIZE_KEY, text)
    Image.fromarray(PHOTO).save("small.png", pnginfo=chunks)
    assert cli.main(["restore", "small.png"]) == 2
    err = capsys.readouterr().err
    assert "is not a size" in err and len(err) < 200 and "\x1b" not in err


def test_pictures_of_one_name_keep_their_suffix_and_one_named_twice_is_there_once(folder, capsys):
    Image.fromarray(PHOTO).save("in/1.jpg")
    assert cli.main(["upscale", "in", "in/3.png", "-o", "out"]) == 0
    assert sorted(os.listdir("out")) == ["1_jpg_x4.png", "1_png_x4.png", "3_x4.png"]
    assert cli.main(["upscale", "in/1.jpg"]) == 0 and os.path.exists("in/1_x4.png")


def test_a_refused_command_makes_no_folder(folder, capsys):
    os.mkdir("other")
    Image.fromarray(PHOTO).save("other/1.png")
    assert cli.main(["upscale", "in/1.png", "other/1.png", "-o", "out/"]) == 2
    assert "leave out -o" in capsys.readouterr().err and not os.path.exists("out")
    assert cli.main(["upscale", "in/1.png", "other/1.png"]) == 0


def test_what_is_neither_a_file_nor_a_folder_is_called_so(folder, capsys):
    os.mkfifo("fifo.png")
    assert cli.main(["upscale", "fifo.png"]) == 2
    assert "fifo.png is neither a file nor a folder" in capsys.readouterr().err
