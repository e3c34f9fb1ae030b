"""Building data sets, by function and by `hcflow data build`."""

import os
import resource
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from PIL import Image

from hcflow_jax import cli, images
from hcflow_jax import data as sources
from hcflow_jax.data import build
from hcflow_jax.errors import UserError
from hcflow_jax.images.resize import imresize
from hcflow_jax.locks import locked
from tests.images import profiles

SIZES = [(33, 30), (24, 48), (61, 40), (16, 16)]


def _save(path, seed, height, width, mode="RGB"):
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(array).convert(mode).save(path)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """hr/: pictures of any size; even/ and small/: matching pairs, DIV2K's names."""
    monkeypatch.chdir(tmp_path)
    for name in ("hr", "even", "small"):
        os.mkdir(name)
    for i, (height, width) in enumerate(SIZES):
        _save(f"hr/{i + 8}.png", i, height, width)
        _save(f"even/000{i}.png", i, 4 * height, 4 * width)
        _save(f"small/000{i}x4.png", i + 10, height, width)
    return tmp_path


def _open(path, scale=4, split="train"):
    return sources.open_source(str(path), "", split, scale)


def _assert_same(one, two):
    assert len(one) == len(two)
    for i in range(len(one)):
        for key in ("hr", "lr"):
            np.testing.assert_array_equal(one.pair(i)[key], two.pair(i)[key])


@pytest.mark.parametrize("shards", [1, 3, 8])
@pytest.mark.parametrize("scale", [2, 4])
def test_a_built_set_equals_its_folder(place, monkeypatch, shards, scale):
    """In the same order, however many files it takes."""
    if shards > 1:
        monkeypatch.setattr(build, "SHARD_BYTES", 5_000 if shards == 3 else 1)
    _save("hr/50.jpg", 5, 20, 21)
    _save("hr/51.png", 6, 20, 21, "L")
    _save("hr/52.png", 7, 20, 20, "RGBA")
    _save("hr/53.png", 8, 20, 20, "P")
    path = build.build("hr", "set", scale=scale)
    built, folder = _open(path, scale), _open("hr", scale)
    assert abs(len(list(path.glob("*array_record*"))) - shards) <= (shards == 3)
    assert path == place / "set" and isinstance(built, sources.BuiltSource)
    _assert_same(built, folder)
    names = [built.name(i) for i in range(len(built))]
    assert names == [os.path.basename(folder.name(i)) for i in range(len(folder))]
    assert sorted(os.listdir(place)) == ["even", "hr", "set", "small"]
    assert path.stat().st_mode & 0o777 == 0o755


def test_a_built_set_has_the_permissions_that_the_umask_leaves(place):
    before = os.umask(0o027)
    try:
        path = build.build("hr", "set")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o750
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o640}


def test_given_lr_pictures_are_kept(place):
    path = build.build("even", "set", "small")
    built = _open(path)
    for i in range(len(SIZES)):
        pair = built.pair(i)
        np.testing.assert_array_equal(pair["lr"], images_of(f"small/000{i}x4.png"))
        np.testing.assert_array_equal(pair["hr"], images_of(f"even/000{i}.png"))
        patch = built.patch(i, 2, 3, 8)
        np.testing.assert_array_equal(patch["lr"], pair["lr"][2:10, 3:11])
        np.testing.assert_array_equal(patch["hr"], pair["hr"][8:40, 12:44])
        assert np.any(pair["lr"] != imresize(pair["hr"], 1 / 4))


@pytest.mark.parametrize("given", [False, True])
def test_large_pictures_become_tiles_that_hold_every_patch(place, given):
    """Of the whole picture's LR image, made or given; smaller pictures stay as they are."""
    _save("even/0004.png", 5, 4 * 93, 4 * 130)
    _save("small/0004x4.png", 6, 93, 130)
    path = build.build("even", "set", "small" if given else None, tile=240)
    whole, tiles = _open("even").pair(4), _open(path)
    if given:
        whole["lr"] = images_of("small/0004x4.png")
    places = [(x, y) for y in (0, 20, 33) for x in (0, 20, 40, 60, 70)]
    first = len(tiles) - len(places)
    assert [tiles.name(i) for i in range(first, len(tiles))] == [
        f"0004.png at {4 * x},{4 * y}" for x, y in places
    ]
    for i, (x, y) in enumerate(places, start=first):
        for key, s in (("hr", 4), ("lr", 1)):
            part = whole[key][s * y : s * (y + 60), s * x : s * (x + 60)]
            np.testing.assert_array_equal(tiles.pair(i)[key], part)
    patch = 160 // 4
    for x in range(130 - patch + 1):
        assert any(left <= x and x + patch <= left + 60 for left, _ in places)
    for y in range(93 - patch + 1):
        assert any(top <= y and y + patch <= top + 60 for _, top in places)
    assert len(_open(build.build("even", "untiled", tile=0))) == 5
    with pytest.raises(UserError, match="tiles of 240 pixels.*patch_size 244.*--tile"):
        tiles.check_patch(61)


def images_of(path):
    return np.asarray(Image.open(path))


def test_folders_of_folders(place):
    os.renames("even/0001.png", "even/b/deep/0001.png")
    os.renames("small/0001x4.png", "small/b/deep/0001x4.png")
    _save("even/b/0000.png", 7, 48, 48)
    _save("small/b/0000x4.png", 8, 12, 12)
    assert len(_open("even")) == 3
    folder = sources.open_source("even", "", "train", 4, recursive=True)
    names = [os.path.relpath(folder.name(i), "even") for i in range(len(folder))]
    assert names == ["0000.png", "0002.png", "0003.png", "b/0000.png", "b/deep/0001.png"]
    _assert_same(_open(build.build("even", "set", recursive=True)), folder)
    assert cli.main(["data", "build", "even", "--lr", "small", "-o", "lr", "--recursive"]) == 0
    given = _open("lr")
    assert len(given) == 5
    for i, name in enumerate(names):
        small = f"small/{name.removesuffix('.png')}x4.png"
        np.testing.assert_array_equal(given.pair(i)["lr"], images.read_uint8(small))


def test_a_profile_is_gone_from_what_training_sees(place):
    with Image.open("hr/8.png") as image:
        image.save("hr/8.png", icc_profile=profiles.rgb())
        image.save("hr/9.png", icc_profile=profiles.rgb(profiles.SRGB))
        plain = np.asarray(image)
    folder, built = _open("hr"), _open(build.build("hr", "set"))
    _assert_same(built, folder)
    changed = np.abs(folder.pair(0)["hr"].astype(int) - plain[:32, :28])
    assert 20 < changed.max() < 160
    np.testing.assert_array_equal(folder.pair(1)["hr"], plain[:32, :28])


def test_lr_pictures_of_hr_that_was_cropped_first_fit_any_size(place, capsys):
    """DIV2K's, and MATLAB's modcrop: 49×47 has an LR picture of 12×11."""
    os.makedirs("odd"), os.makedirs("odd_small")
    _save("odd/a.png", 0, 49, 47)
    hr = images_of("odd/a.png")
    lr = imresize(hr[:48, :44], 1 / 4)
    Image.fromarray(lr).save("odd_small/a.png")
    pair = _open(build.build("odd", "set", "odd_small")).pair(0)
    np.testing.assert_array_equal(pair["hr"], hr[:48, :44])
    np.testing.assert_array_equal(pair["lr"], lr)
    assert "warning" not in capsys.readouterr().err
    Image.fromarray(imresize(hr, 1 / 4)).save("odd_small/a.png")  # 13×12
    with pytest.raises(images.ImageError, match="a.png is 47×49, not 4 times odd_small/a.png"):
        build.build("odd", "other", "odd_small")


def test_pictures_that_were_swapped_are_warned_of(place, capsys):
    os.makedirs("two"), os.makedirs("two_small")
    for i in range(2):
        pixels = np.zeros((64, 64, 3), np.uint8)
        pixels[:, 32 * i : 32 * i + 32] = 200
        Image.fromarray(pixels).save(f"two/{i}.png")
        Image.fromarray(imresize(pixels, 1 / 4)).save(f"two_small/{1 - i}.png")
    build.build("two", "set", "two_small")
    (line,) = [line for line in capsys.readouterr().err.split("\n") if "warning" in line]
    assert "two_small/0.png has 2.2 dB to the bicubic LR of two/0.png" in line
    assert "two_small/1.png has 2.2 dB" in line
    os.rename("two_small/0.png", "two_small/x")
    os.rename("two_small/1.png", "two_small/0.png"), os.rename("two_small/x", "two_small/1.png")
    build.build("two", "right", "two_small")
    assert "warning" not in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_nothing_is_left(place, capsys):
    """Of array_record's writer, and of ours."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(UserError, match=r"cannot write .*set \(File too large\); free space"):
            build.build("hr", "set")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(os.listdir(place)) == ["even", "hr", "small"]


def test_no_temporary_folder_is_left(place, monkeypatch):
    os.makedirs("temporary")
    monkeypatch.setattr(tempfile, "tempdir", "temporary")
    build.build("hr", "set")
    assert os.listdir("temporary") == []


def test_a_link_in_the_place_of_an_unfinished_build_is_not_followed(place):
    os.makedirs("mine")
    os.symlink("mine", ".set.unfinished-x")
    build.build("hr", "set")
    assert os.listdir("mine") == []


def test_plain_pngs_go_in_as_they_are(place):
    path = place / "even/0000.png"
    assert [found["hr"] for found in build.encode((path, None), 4, 480)] == [path.read_bytes()]
    path = place / "hr/8.png"  # 30×33, to be cropped
    assert build.encode((path, None), 4)[0]["hr"] != path.read_bytes()


def test_splits_fingerprints_and_scale(place):
    path = build.build("hr", "set")
    first = _open(path)
    path = path.rename(place / "moved")
    assert _open(path).fingerprint == first.fingerprint
    half = _open(path, split="train[:50%]")
    assert len(half) == 2 and half.fingerprint != first.fingerprint
    os.makedirs("versions")
    path.rename("versions/1.0.0")
    assert _open("versions").fingerprint == first.fingerprint
    _save("hr/8.png", 99, *SIZES[0])
    assert _open(build.build("hr", "other")).fingerprint != first.fingerprint
    with pytest.raises(ValueError, match="pairs of scale 4, the model has 8.*--scale 8"):
        _open("versions", 8)
    with pytest.raises(ValueError, match="no split 'test'"):
        _open("versions", split="test")
    with pytest.raises(images.ImageError, match="11.png is 16×16.*patch_size 20"):
        first.check_patch(5)


def _break(kind):
    if kind == "truncated":
        for name in ("even/0001.png", "small/0002x4.png"):
            with open(name, "rb") as file:
                data = file.read()
            with open(name, "wb") as file:
                file.write(data[: len(data) // 2])
    elif kind == "empty":
        open("even/0003.png", "wb").close()
    elif kind == "hr missing":
        os.unlink("even/0000.png")
    elif kind == "lr missing":
        os.unlink("small/0002x4.png")
    elif kind == "ratio":
        _save("small/0001x4.png", 0, 24, 47)
    elif kind == "grey":
        _save("small/0001x4.png", 0, *SIZES[1], "L")
    elif kind == "twice":
        _save("even/0001.jpg", 0, 96, 192)
    elif kind == "tiny":
        _save("even/0001.png", 0, 3, 192)
    elif kind == "many":
        for i in range(9):
            open(f"even/1{i}.png", "wb").close()
            open(f"small/1{i}.png", "wb").close()


@pytest.mark.parametrize(
    "kind, words",
    [
        ("truncated", "even/0001.png is truncated.*small/0002x4.png is truncated"),
        ("empty", "0003.png is empty"),
        ("hr missing", "small/0000x4.png has no partner in even"),
        ("lr missing", "even/0002.png has no partner in small"),
        ("ratio", "even/0001.png is 192×96, not 4 times small/0001x4.png, 47×24"),
        ("grey", "even/0001.png is in colour but small/0001x4.png grey"),
        ("twice", "0001.jpg and 0001.png have the same name|0001.png and 0001.jpg"),
        ("tiny", "0001.png"),
        ("many", "10.png.*14.png.*and 4 more"),
    ],
)
def test_bad_pictures_are_named_before_anything_is_written(place, kind, words):
    _break(kind)
    with pytest.raises(images.ImageError, match=words) as error:
        build.build("even", "set", "small")
    assert "\n" not in str(error.value)
    assert sorted(os.listdir(place)) == ["even", "hr", "small"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_build_leaves_nothing(place, monkeypatch, error):
    def fail(pair, scale, tile):
        if pair[0].name == "10.png":
            raise error
        return encode(pair, scale, tile)

    encode = build.encode
    with monkeypatch.context() as patched, pytest.raises((KeyboardInterrupt, UserError)):
        patched.setattr(build, "encode", fail)
        build.build("hr", "set")
    assert sorted(os.listdir(place)) == ["even", "hr", "small"]
    _assert_same(_open(build.build("hr", "set")), _open("hr"))


SCRIPT = """
import os, signal, sys
from hcflow_jax import cli
from hcflow_jax import data as sources
from hcflow_jax.data import build
if sys.argv[2] == "kill":
    def encode(pair, scale, tile, real=build.encode):
        if pair[0].name == "10.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return real(pair, scale, tile)
    build.encode = encode
assert cli.main(["data", "build", "hr", "-o", sys.argv[1]]) == 0
source = sources.open_source(sys.argv[1], "", "train", 4)
print(source.pair(0)["hr"].sum())
assert "tensorflow" not in sys.modules
"""


def _run(*argv):
    return subprocess.run([sys.executable, "-c", SCRIPT, *argv], capture_output=True, text=True)


def test_a_killed_build_leaves_nothing_that_looks_finished(place):
    """The next one succeeds, without TensorFlow, and tidies up; a running one is let be."""
    assert _run("set", "kill").returncode == -signal.SIGKILL
    left = [name for name in os.listdir(place) if name.startswith(".set.unfinished-")]
    assert len(left) == 1 and not os.path.exists("set")
    os.mkdir(".set.unfinished-running")
    with locked(place / ".set.unfinished-running/.lock"):
        done = _run("set", "")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(place)) == [".set.unfinished-running", "even", "hr", "set", "small"]
    assert done.stdout.split()[-1] == str(_open("hr").pair(0)["hr"].sum())


def test_the_command(place, capsys):
    assert cli.main(["data", "build", "even", "-o", "a set", "--lr", "small"]) == 0
    out, err = capsys.readouterr()
    assert "a set: 4 pairs of at most 480×480 pixels, ×4, " in out
    assert "--config.data.path='a set'\n" in out
    assert "hcflow train --config=sr_x4 --workdir=runs/sr" in out
    assert "checking: 100%" in err and "building: 100%" in err and "unfinished" not in out + err
    assert cli.main(["data", "build", "hr", "-o", "x8", "--scale", "8"]) == 0
    assert "--config=sr_x8" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv, words",
    [
        ([], "COMMAND"),
        (["bench", ""], "PATH is empty"),
        (["bench", "even", "--patch-size", "200"], "smaller than patch_size 200"),
        (["bench", "even", "--workers", "-1"], "--workers"),
        (["build", "hr", "-o", "x", "--tile", "160"], "over 160, got 160; give --tile 480"),
        (["build", "hr", "-o", "x", "--tile", "482"], "multiple of 4"),
        (["build"], "HR_DIR"),
        (["build", "hr"], "-o"),
        (["build", "hr", "-o", ""], "-o is empty"),
        (["build", "", "-o", "x"], "HR_DIR is empty"),
        (["build", "hr", "-o", "x", "--lr", ""], "--lr is empty"),
        (["build", "hr", "-o", "x", "--scale", "3"], "3"),
        (["build", "absent", "-o", "x"], "absent"),
        (["build", "hr/8.png", "-o", "x"], "hr/8.png is not a folder"),
        (["build", ".", "-o", "x"], "no images"),
        (["build", "hr", "-o", "small"], "small exists"),
        (["build", "hr", "-o", "absent/x"], "absent is not a folder"),
        (["build", "hr", "-o", "/proc/x"], "/proc"),
        (["build", "hr", "-o", "x", "--lr", "absent"], "absent"),
        (["build", "even", "-o", "x", "--lr", "small", "--scale", "2"], "no partner"),
    ],
)
def test_bad_commands_are_one_line(place, capsys, argv, words):
    assert cli.main(["data", *argv]) == 2
    out, err = capsys.readouterr()
    line = err.split("\r")[-1].strip().split("\n")[-1]
    assert line.startswith("hcflow: ") and words in line and out == ""
    assert not os.path.exists("x")


@pytest.mark.parametrize("kind", ["folder", "set"])
def test_the_rate_of_patches(place, capsys, kind):
    path = str(build.build("even", "set")) if kind == "set" else "even"
    argv = ["bench", path, "--patch-size", "32", "--batch-size", "2", "--seconds", "1"]
    assert cli.main(["data", *argv, "--workers", "0"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{path}: 4 pictures or tiles, ×4"
    rate, rest = second.split(" ", 1)
    assert float(rate.replace(",", "")) > 1
    assert rest == "patches of 32×32 a second by threads (--config.data.workers=0)"


def test_without_tensorflow_datasets(place, monkeypatch, capsys):
    path = build.build("hr", "set")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    monkeypatch.delitem(sys.modules, "hcflow_jax.data.build")
    monkeypatch.delattr("hcflow_jax.data.build")
    assert cli.main(["data", "build", "hr", "-o", "x"]) == 2
    assert "tensorflow_datasets; pip install 'hcflow_jax[train]'" in capsys.readouterr().err
    for arguments in ((str(path), ""), ("", "div2k")):
        with pytest.raises(ValueError, match=r"tensorflow_datasets; pip install"):
            sources.open_source(*arguments, "train", 4)
    assert len(_open("hr")) == 4


def test_a_damaged_set_is_named(place):
    path = build.build("hr", "set")
    (shard,) = path.glob("*array_record*")
    data = bytearray(shard.read_bytes())
    start = data.find(b"IDAT")
    data[start : start + 2000] = bytes(2000)
    shard.write_bytes(data)
    with pytest.raises(ValueError, match="set.*damaged"):
        source = _open(path)
        for i in range(4):
            source.pair(i)
    shard.unlink()
    with pytest.raises(ValueError, match="set.*damaged"):
        _open(path)
    for name in ("metadata.json", "dataset_info.json"):
        (path / name).write_text("{")
        with pytest.raises(ValueError, match="damaged"):
            _open(path)
