"""Which files are read and written: folders again, names, formats, frames, pipes."""

import io
import os
import sys
import types
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hcflow_jax import cli, images, sampling
from tests.cli import test_batch

folder = test_batch.folder  # models that enlarge and shrink by bicubic interpolation
PHOTO = test_batch.PHOTO
RESULTS = {"upscale": "x4", "downscale": "lr", "restore": "restored"}


def _fails(capsys, argv, *words):
    """The command exits with 2, one line on stderr that has all `words`, and changes no folder."""
    before = sorted(os.listdir("."))
    capsys.readouterr()
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1), err
    assert all(word in err for word in words), err
    assert sorted(os.listdir(".")) == before


@pytest.mark.parametrize("command", RESULTS)
def test_a_folder_can_be_done_again(folder, capsys, command):
    force = ["--force"] if command == "restore" else []  # what it restores is none of its own
    for again in (False, True):
        assert cli.main([command, "in", *force]) == 0
        out, err = capsys.readouterr()
        assert out.count("\n") == 2 and out.count(", replaced\n") == 2 * again
        assert err == "left out: 2 results of hcflow (taken if named)\n" * again
    label = RESULTS[command]
    assert sorted(os.listdir("in")) == ["1.png", f"1_{label}.png", "3.png", f"3_{label}.png"]


def test_results_are_known_wherever_they_are_and_taken_if_named(folder, capsys):
    assert cli.main(["upscale", "in", "-o", "out", "--suffix", "", "--format", "jpg"]) == 0
    Image.fromarray(PHOTO).save("out/2.png")
    assert cli.main(["upscale", "out", "-o", "more"]) == 0
    assert os.listdir("more") == ["2_x4.png"]
    assert "left out: 2 results of hcflow (taken if named)\n" in capsys.readouterr().err
    assert cli.main(["upscale", "out", "out/1.jpg", "-o", "named"]) == 0
    assert sorted(os.listdir("named")) == ["1_x4.png", "2_x4.png"]
    assert "left out: 1 result of hcflow (taken if named)\n" in capsys.readouterr().err
    os.remove("out/2.png")
    assert cli.main(["downscale", "out"]) == 2
    assert "hcflow: out: no picture is left; name those to take\n" in capsys.readouterr().err


def test_restore_takes_the_small_pictures_of_a_folder_and_downscale_what_is_none(folder, capsys):
    Image.fromarray(PHOTO).save("in/foreign.png")
    for command in ("downscale", "upscale", "restore"):
        names = ["in/1.png", "in/3.png"] if command == "downscale" else ["in"]
        assert cli.main([command, *names]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "left out: 2 results of hcflow (taken if named)",  # the small ones, when enlarging
        "left out: 3 pictures that `downscale` did not write (taken if named, or by --force)",
        "left out: 3 results of hcflow (taken if named)",
    ]
    restored = sorted(name for name in os.listdir("in") if "restored" in name)
    assert restored == ["1_lr_restored.png", "3_lr_restored.png"]
    assert cli.main(["downscale", "in", "-o", "small"]) == 0
    assert sorted(os.listdir("small")) == ["1_lr.png", "3_lr.png", "foreign_lr.png"]


@pytest.mark.parametrize("target", ["in/1_x4.png", "big.jpg", "big.bmp"])
def test_what_hcflow_has_not_made_is_not_overwritten(folder, capsys, target):
    argv = ["upscale", "in/1.png", *(["-o", target] if target.startswith("big") else [])]
    Image.fromarray(PHOTO).save(target)
    before = Path(target).read_bytes()
    _fails(capsys, argv, f"{target} is there, and nothing in it says that hcflow made it; remove")
    assert Path(target).read_bytes() == before
    os.remove(target)
    assert cli.main(argv) == 0 and Path(target).read_bytes() != before


def test_results_of_another_command_are_not_overwritten(folder, capsys):
    assert cli.main(["downscale", "in/1.png", "-o", "small.png"]) == 0
    small = Path("small.png").read_bytes()
    for more in ([], ["--skip-existing"]):
        argv = ["upscale", "in/1.png", "-o", "small.png", *more]
        _fails(capsys, argv, "small.png is a result of `hcflow downscale`; remove it or name")
    Image.fromarray(PHOTO).save("in/1_x4.png")
    argv = ["upscale", "in/1.png", "--skip-existing"]
    _fails(capsys, argv, "1_x4.png is there, and nothing in it says that hcflow made it")
    assert Path("small.png").read_bytes() == small


def test_an_interrupted_folder_goes_on(folder, capsys, monkeypatch):
    def nothing(model, params, pictures, *args, **kwargs):
        raise AssertionError("nothing is left to do")

    assert cli.main(["upscale", "in", "-o", "out"]) == 0
    before = os.stat("out/1_x4.png")
    os.remove("out/3_x4.png")
    capsys.readouterr()
    argv = ["upscale", "in", "-o", "out", "--skip-existing"]
    assert cli.main(argv) == 0
    out, err = capsys.readouterr()
    assert out.startswith("out/3_x4.png  ") and out.count("\n") == 1
    assert err == "left as they are: results of 1 of 2 pictures\n"
    assert os.stat("out/1_x4.png").st_mtime_ns == before.st_mtime_ns
    monkeypatch.setattr(sampling, "sample_all", nothing)
    monkeypatch.setattr(sampling, "load", nothing)
    assert cli.main(argv) == 0
    assert capsys.readouterr().err == "left as they are: results of 2 of 2 pictures\n"


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "avif", "tif"])
def test_format_and_suffix_name_the_results(folder, kind):
    names = {f"1 large.{kind}", f"3 large.{kind}"}
    for output in ([], ["-o", "out"]):
        argv = ["upscale", "in", *output, "--format", kind, "--suffix", " large"]
        assert cli.main(argv) == 0
        made = set(os.listdir("out" if output else "in"))
        assert names <= made
        with Image.open(f"in/1 large.{kind}") as image:
            assert image.format == {"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind.upper())


@pytest.mark.parametrize("kind", ["jpg", "webp", "avif"])
def test_quality_is_the_one_of_the_format(folder, kind):
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)).save("noise.png")
    sizes, errors = [], []
    assert cli.main(["upscale", "noise.png"]) == 0
    exact = images.read("noise_x4.png").rgb
    for quality in ("10", "60", "100", None):
        argv = ["upscale", "noise.png", "-o", f"a.{kind}"]
        assert cli.main([*argv, *(["--quality", quality] if quality else [])]) == 0
        sizes.append(os.path.getsize(f"a.{kind}"))
        errors.append(np.abs(images.read(f"a.{kind}").rgb - exact).mean())
    assert sizes[0] < sizes[1] < sizes[2] and errors[0] > errors[1] > errors[2]
    assert errors[3] == 0 if kind == "webp" else sizes[1] < sizes[3] < sizes[2]


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--quality", "90"], "in/1_x4.png: PNG loses nothing; leave out --quality"),
        (["--quality", "90", "-o", "a.tif"], "a.tif: TIFF loses nothing; leave out --quality"),
        (["--quality", "90", "-o", "new/"], "new/1_x4.png: PNG loses nothing"),
        (["--quality", "0"], "'0' is not a whole number from 1 to 100"),
        (["--quality", "101"], "'101' is not a whole number from 1 to 100"),
        (["--format", "jpg", "-o", "a.png"], "-o a.png says the format; leave out --format jpg"),
        (["--suffix", "_b", "-o", "a.png"], "-o a.png is the whole name; leave out --suffix _b"),
        (["--suffix", "/b"], "--suffix /b is no end of a name; leave out slashes"),
        (["--suffix", ""], "its result 1.png would overwrite in/1.png; name another -o"),
        (["-o", "-", "--frames", "all"], "standard output, takes one picture; name a folder"),
        (["-o", "-", "--samples", "2", "--temperature", "1"], "takes one picture"),
        (["-o", "-", "--quality", "9"], "standard output: PNG loses nothing; leave out --quality"),
        (["-"], "-, standard input, is one picture; name it alone"),
    ],
)
def test_options_that_contradict_one_another(folder, capsys, argv, words):
    _fails(capsys, ["upscale", "in/1.png", *argv], words)


@pytest.mark.parametrize("inputs", [["in"], ["in/1.png", "in/3.png"]])
def test_standard_output_takes_one_picture(folder, capsys, inputs):
    _fails(capsys, ["upscale", *inputs, "-o", "-"], "takes one picture; name a folder by -o")


def test_small_pictures_are_png_or_jpeg(folder, capsys):
    for flags in (["--format", "webp"], ["--quality", "90"]):
        _fails(capsys, ["downscale", "in/1.png", *flags], flags[0])


@pytest.mark.parametrize("output", ["t5", "t5/", "new/t5"])
def test_a_name_without_a_suffix_is_a_folder_for_one_picture_too(folder, capsys, output):
    assert cli.main(["upscale", "in/1.png", "-o", output]) == 0
    assert os.listdir(output) == ["1_x4.png"]
    Path("t6").touch()
    _fails(capsys, ["upscale", "in/1.png", "-o", "t6"], "t6 is no folder; name another -o")


COLOURS = [(200, 30, 40), (20, 160, 60), (30, 40, 220)]


def _animation(name, **options):
    first, *others = (Image.new("RGB", (8, 6), colour) for colour in COLOURS)
    first.save(name, save_all=True, append_images=others, **options)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_every_frame_of_an_animation(folder, capsys, name):
    _animation(f"in/{name}", **({"lossless": True} if name == "a.webp" else {}))
    assert cli.main(["upscale", "in", "--frames", "all", "-o", "out"]) == 0
    frames = [f"a_x4_frame{i:04}.png" for i in (1, 2, 3)]
    assert sorted(os.listdir("out")) == ["1_x4.png", "3_x4.png", *frames]
    for frame, colour in zip(frames, COLOURS, strict=True):
        with Image.open(f"out/{frame}") as image:
            assert image.size == (32, 24)
            np.testing.assert_allclose(image.convert("RGB").getpixel((9, 9)), colour, atol=1)
    assert capsys.readouterr().err == ""
    assert cli.main(["upscale", f"in/{name}", "--frames", "all", "-o", "b.png"]) == 0
    assert {f"b_frame{i:04}.png" for i in (1, 2, 3)} <= set(os.listdir("."))


def test_few_frames_are_in_memory_at_a_time(folder, monkeypatch):
    """One that is computed, and those that are read and written meanwhile."""
    read, held, most = images.read, set(), []

    def counted(*args, **options):
        picture = read(*args, **options)
        held.add(number := len(most))
        weakref.finalize(picture.values, held.discard, number)
        most.append(len(held))
        return picture

    first, *others = (Image.new("RGB", (8, 6 + i)) for i in range(15))
    first.save("a.tif", save_all=True, append_images=others)
    monkeypatch.setattr(images, "read", counted)
    assert cli.main(["upscale", "a.tif", "--frames", "all"]) == 0
    assert len(most) == 15 and max(most) <= 6, most
    heights = [Image.open(f"a_x4_frame{i + 1:04}.png").height for i in range(15)]
    assert heights == [4 * (6 + i) for i in range(15)]


def test_a_damaged_animation_is_listed(folder, capsys):
    _animation("in/a.tif")
    data = Path("in/a.tif").read_bytes()
    Path("in/a.tif").write_bytes(data[: len(data) * 3 // 5])
    assert cli.main(["upscale", "in", "--frames", "all"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("hcflow: 1 of 3 pictures failed:\n  in/a.tif is truncated or damaged")
    assert "1_x4.png" in os.listdir("in")


def _stream(data=b"", terminal=False):
    """What stands for a standard stream."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")
    return types.SimpleNamespace(
        buffer=text.buffer,
        encoding="utf-8",
        isatty=lambda: terminal,
        write=text.write,
        flush=text.flush,
    )


@pytest.fixture
def pipe(monkeypatch):
    """pipe(data, terminal=…) -> the stdout that a command is given, whose stdin holds `data`."""

    def replace(data=b"", **options):
        out = _stream(**options)
        monkeypatch.setattr(sys, "stdin", _stream(data, **options))
        monkeypatch.setattr(sys, "stdout", out)
        return out

    return replace


@pytest.mark.parametrize(
    "command, flags, kind, size",
    [
        ("upscale", [], "PNG", (32, 24)),
        ("upscale", ["--format", "jpg", "--quality", "80"], "JPEG", (32, 24)),
        ("upscale", ["--format", "tif", "--bits", "16"], "TIFF", (32, 24)),
        ("downscale", [], "PNG", (2, 2)),
        ("restore", ["--force"], "PNG", (32, 24)),
    ],
)
def test_pictures_go_through_pipes(folder, capsys, pipe, command, flags, kind, size):
    out = pipe(Path("in/1.png").read_bytes())
    assert cli.main([command, "-", "-o", "-", *flags]) == 0
    with Image.open(io.BytesIO(out.buffer.getvalue())) as image:
        image.load()
        assert (image.format, image.size) == (kind, size)
    assert capsys.readouterr().err == "" and os.listdir(".") == ["in"]


def test_notes_of_what_comes_through_pipes_go_to_stderr(folder, capsys, pipe):
    _animation("a.gif")
    out = pipe(Path("a.gif").read_bytes())
    assert cli.main(["upscale", "-", "-o", "-"]) == 0
    assert out.buffer.getvalue().endswith(b"IEND\xaeB`\x82")
    line = (
        "standard input: of several pictures in it only the first is taken "
        "(--frames all takes all)\n"
    )
    assert capsys.readouterr().err == line
    pipe(Path("a.gif").read_bytes())
    assert cli.main(["upscale", "-", "-o", "b.png", "--frames", "all"]) == 0
    assert {f"b_frame{i:04}.png" for i in (1, 2, 3)} <= set(os.listdir("."))


@pytest.mark.parametrize(
    "data, argv, words",
    [
        (b"", ["-o", "a.png"], "standard input is empty; send it a picture"),
        (b"hello, world", ["-o", "a.png"], "standard input is not an image of a known"),
        (None, [], "standard input gives results no name; give -o FILE, or -o -"),
        (None, ["-o", "new/"], "standard input gives results no name"),
        (None, ["-o", "-", "--max-pixels", "47"], "48, more than 47 pixels"),
    ],
)
def test_standard_input_that_is_refused(folder, capsys, pipe, data, argv, words):
    out = pipe(Path("in/1.png").read_bytes() if data is None else data)
    _fails(capsys, ["upscale", "-", *argv], words)
    assert out.buffer.getvalue() == b""


def test_standard_input_without_end_is_refused(folder, capsys, pipe, monkeypatch):
    class Endless:
        taken = 0

        def read(self, size):
            self.taken += size
            return bytes(size)

    pipe()
    sys.stdin.buffer = Endless()
    _fails(capsys, ["upscale", "-", "-o", "a.png", "--max-pixels", "100"], "--max-pixels")
    assert sys.stdin.buffer.taken < 70_000_000


def test_terminals_are_no_pipes(folder, capsys, pipe):
    pipe(terminal=True)
    _fails(capsys, ["upscale", "-", "-o", "a.png"], "- is standard input; send it a picture")
    _fails(capsys, ["upscale", "in/1.png", "-o", "-"], "standard output, a terminal; send it on")


def test_a_reader_that_leaves_is_one_line(folder, capsys, monkeypatch):
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)).save("noise.png")
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli.main(["upscale", "noise.png", "-o", "-"]) == 2
    err = capsys.readouterr().err
    assert err == "hcflow: cannot write standard output (Broken pipe); free space or name another\n"
