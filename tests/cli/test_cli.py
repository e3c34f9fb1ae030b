"""The command line end to end: good input, and every kind of bad input."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from hcflow_jax import build_model, checkpoints, cli, images, sampling
from hcflow_jax.images.resize import imresize
from hcflow_jax.images.small import SIZE_KEY
from tests.platforms import optimised
from tests.support import randomized
from tests.tiny import RESCALING, SIZES, SR

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (10, 13, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Checkpoint directories of random models: {"sr": path, "rescaling": path, "sr8": path}."""
    folder = tmp_path_factory.mktemp("models")
    eight = build_model(SIZES | {"steps": (1, 1, 1), "conditional_steps": (1, 1, 1)})
    for name, model in {"sr": SR, "rescaling": RESCALING, "sr8": eight}.items():
        shapes = jax.eval_shape(model.init_params, jax.random.key(0))
        params = randomized(shapes, dtype=np.float32)
        checkpoints.save_model(folder / name, model, params)
    return {name: str(folder / name) for name in ("sr", "rescaling", "sr8")}


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(PHOTO).save(path)
    return path


@pytest.fixture
def folder(tmp_path, photo, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _size(path):
    with Image.open(path) as image:
        return image.size


def _fails(capsys, argv, *words):
    """The command exits with 2 and one line on stderr that has all `words`."""
    before = sorted(os.listdir("."))
    assert cli.main([str(a) for a in argv]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "Traceback" not in err, err
    for word in words:
        assert str(word) in err
    assert sorted(os.listdir(".")) == before
    return err


def test_downscale_then_restore_gives_the_original_size(folder, models):
    argv = ["--checkpoint", models["rescaling"]]
    assert cli.main(["downscale", "photo.png", "-o", "lr.png", *argv]) == 0
    assert _size("lr.png") == (4, 3)
    assert cli.main(["restore", "lr.png", "-o", "back.png", *argv]) == 0
    assert _size("back.png") == (13, 10)


def test_upscale_is_the_models_sample_and_repeats(folder, models):
    argv = ["upscale", "photo.png", "--checkpoint", models["sr"], "--temperature", "0.5"]
    argv.append("--no-check")
    for name in ("a.png", "b.png"):
        assert cli.main([*argv, "-o", name, "--seed", "3"]) == 0
    assert cli.main([*argv, "-o", "c.png", "--seed", "4"]) == 0
    assert cli.main([*argv, "-o", "raw.png", "--seed", "3", "--raw"]) == 0
    a, b, c, raw = (images.read(f"{name}.png").rgb for name in ("a", "b", "c", "raw"))
    assert _size("a.png") == (52, 40)
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.05
    model, params = sampling.load(models["sr"], "sr")
    lr = PHOTO.astype(np.float32) / 255
    for found, steps in ((raw, 0), (a, sampling.BACK_PROJECTION)):
        expected = sampling.sample(model, params, lr, 0.5, 3, check=False, back_project=steps)
        np.testing.assert_allclose(found, expected, atol=0.51 / 255)
    assert np.abs(a - raw).max() > 0.05


def test_samples_are_numbered_and_differ(folder, models):
    argv = ["upscale", "photo.png", "--checkpoint", models["sr"], "--samples", "2"]
    assert cli.main([*argv, "--temperature", "0.5", "--no-check"]) == 0
    first, second = (images.read(f"photo_x4_{i}.png").rgb for i in (1, 2))
    assert np.abs(first - second).max() > 0.05


@pytest.fixture
def meadow(folder):
    Image.fromarray(RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save("meadow.png")
    return folder


def test_a_region_is_drawn_anew_and_the_rest_stays(meadow, models):
    argv = ["upscale", "meadow.png", "--checkpoint", models["sr"], "--temperature", "0.5"]
    argv += ["--no-check", "--seed", "3"]
    region = ["--region", "10,20,30,16"]
    assert cli.main([*argv, "-o", "old.png"]) == 0
    assert cli.main([*argv, "-o", "new.png", *region, "--samples", "2"]) == 0
    assert cli.main([*argv, "-o", "again.png", *region, "--region-seed", "2"]) == 0
    old, one, two, again = (
        images.read(f"{name}.png").rgb for name in ("old", "new_1", "new_2", "again")
    )
    np.testing.assert_array_equal(two, again)
    inside, beyond = (slice(20, 36), slice(10, 40)), np.ones(old.shape[:2], bool)
    beyond[: 36 + 64, : 40 + 64] = False
    for a, b in ((old, one), (old, two), (one, two)):
        assert np.any(a[inside] != b[inside], axis=-1).mean() > 0.9
        assert beyond.any()
        np.testing.assert_array_equal(a[beyond], b[beyond])


def test_a_region_outside_one_picture_leaves_the_others(meadow, models, capsys):
    argv = ["upscale", "meadow.png", "photo.png", "--checkpoint", models["sr"], "-o", "large"]
    assert cli.main([*argv, "--region", "100,20,30,16", "--temperature", "0.5"]) == 1
    assert os.listdir("large") == ["meadow_x4.png"]
    assert "photo.png: region 100,20,30,16 is not inside" in capsys.readouterr().err


def test_a_map_says_where_it_is_warm(meadow, models, capsys):
    argv = ["upscale", "meadow.png", "--checkpoint", models["sr"], "--no-check"]
    steps = np.repeat(np.array([0, 255], np.uint8), 40)[None].repeat(3, 0)
    Image.fromarray(steps).save("map.png")
    warm = ["--temperature", "0.5"]
    for name, options in {
        "cold": ["--temperature", "0"],
        "warm": warm,
        "both": [*warm, "--temperature-map", "map.png"],
    }.items():
        assert cli.main([*argv, "-o", f"{name}.png", *options]) == 0
    cold, warm, both = (images.read(f"{name}.png").rgb for name in ("cold", "warm", "both"))
    np.testing.assert_allclose(both[:, :56], cold[:, :56], atol=1.01 / 255)
    np.testing.assert_allclose(both[:, -56:], warm[:, -56:], atol=1.01 / 255)
    assert np.abs(cold - warm)[:, :56].mean() > 0.02
    cold_there = ["--temperature", "0.5", "--temperature-map", "map.png", "--region", "1,2,3,4"]
    _fails(capsys, [*argv, "-o", "x.png", *cold_there], "meadow.png: region 1,2,3,4 would stay")


def test_links_in_a_circle_are_no_trouble(folder, models, capsys):
    os.symlink("loop.png", "loop.png")
    _fails(capsys, ["upscale", "loop.png", "-o", "x.png"], "loop.png")
    argv = ["upscale", "photo.png", "-o", "loop.png", "--checkpoint", models["sr"], "--no-check"]
    assert cli.main(argv) == 0
    assert _size("loop.png") == (52, 40)
    os.symlink("photo.png", "link.png")
    _fails(capsys, ["upscale", "photo.png", "-o", "link.png"], "overwrite")


def test_other_scales_need_a_checkpoint(folder, models, capsys):
    _fails(capsys, ["upscale", "photo.png", "--scale", "9"], "--scale 9", "×8", "--checkpoint")
    _fails(capsys, ["upscale", "photo.png", "--width", "60"], "--width 60", "×4", "--scale 8")
    argv = ["upscale", "photo.png", "--checkpoint", models["sr8"]]
    assert cli.main(argv) == 0
    assert _size("photo_x8.png") == (104, 80)
    capsys.readouterr()
    _fails(capsys, [*argv, "--scale", "9"], "--scale 9", models["sr8"], "×8")


def test_any_size_is_shrunk_from_what_the_network_gives(folder, models, capsys):
    alpha = Image.fromarray(PHOTO[..., 0])
    with_alpha = Image.fromarray(PHOTO)
    with_alpha.putalpha(alpha)
    with_alpha.save("clear.png")
    argv = ["--checkpoint", models["sr"], "--no-check"]
    assert cli.main(["upscale", "photo.png", "-o", "whole.tif", "--bits", "16", *argv]) == 0
    whole = images.read("whole.tif").rgb.astype(np.float64)
    for options, name, size in (
        (["--scale", "3"], "x3", (39, 30)),
        (["--scale", "2.5"], "x2.5", (33, 25)),
        (["--width", "31"], "w31", (31, 24)),
        (["--height", "17"], "h17", (22, 17)),
    ):
        capsys.readouterr()
        assert cli.main(["upscale", "photo.png", "clear.png", *options, *argv]) == 0
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("enlarged ×4 by the network, then shrunk to ")
        found, clear = (images.read(f"{stem}_{name}.png") for stem in ("photo", "clear"))
        assert _size(f"photo_{name}.png") == size
        expected = np.clip(imresize(whole, size=size[::-1]), 0, 1)
        np.testing.assert_allclose(found.rgb, expected, atol=0.51 / 255)
        expected = np.clip(imresize(PHOTO[..., 0] / 255, size=size[::-1]), 0, 1)
        np.testing.assert_allclose(clear.alpha, expected, atol=0.51 / 255)
    assert cli.main(["upscale", "photo.png", "--scale", "4", *argv, "-o", "same.png"]) == 0
    assert cli.main(["upscale", "photo.png", *argv, "-o", "usual.png"]) == 0
    assert capsys.readouterr().err == ""
    assert (folder / "same.png").read_bytes() == (folder / "usual.png").read_bytes()


def test_a_folder_goes_to_a_folder(folder, models):
    os.makedirs("in")
    os.makedirs("out")
    for name in ("1.png", "2.jpg"):
        Image.fromarray(PHOTO).save(f"in/{name}")
    assert cli.main(["upscale", "in", "-o", "out", "--checkpoint", models["sr"]]) == 0
    assert sorted(os.listdir("out")) == ["1_x4.png", "2_x4.png"]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "I;16"])
def test_every_mode_goes_through(folder, models, mode):
    grey = PHOTO[..., 0]
    image = (
        Image.fromarray(grey.astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(PHOTO).convert(mode)
    )
    image.save("in.png")
    assert cli.main(["upscale", "in.png", "-o", "big.png", "--checkpoint", models["sr"]]) == 0
    argv = ["--checkpoint", models["rescaling"]]
    assert cli.main(["downscale", "in.png", "-o", "lr.png", *argv]) == 0
    assert cli.main(["restore", "lr.png", "-o", "back.png", *argv]) == 0
    expected = {"L": "L", "1": "L", "I;16": "I;16", "LA": "LA", "RGBA": "RGBA", "P": "RGB"}[mode]
    with Image.open("big.png") as big, Image.open("back.png") as back:
        assert big.mode == back.mode == expected
        assert big.size == (52, 40) and back.size == (13, 10)


def test_one_pixel_is_a_picture(folder, models):
    Image.new("RGB", (1, 1), "teal").save("in.png")
    argv = ["--checkpoint", models["rescaling"]]
    assert cli.main(["downscale", "in.png", "-o", "lr.png", *argv]) == 0
    assert cli.main(["restore", "lr.png", "-o", "back.png", *argv]) == 0
    assert _size("lr.png") == _size("back.png") == (1, 1)


def test_a_foreign_small_picture_is_restored_whole_after_a_line(folder, models, capsys):
    """An ordinary picture, and small ones that were saved again by other programs."""
    argv = ["--checkpoint", models["rescaling"]]
    assert cli.main(["downscale", "photo.png", "-o", "lr.png", *argv]) == 0
    with Image.open("lr.png") as small:
        small.convert("RGB").save("lr.jpg", quality=95)
        small.resize((8, 6)).save("resized.png")
    for name, size in {"photo.png": (52, 40), "lr.jpg": (16, 12), "resized.png": (32, 24)}.items():
        assert cli.main(["restore", name, "-o", "back.png", *argv]) == 0
        assert _size("back.png") == size
        line = capsys.readouterr().err
        assert line.startswith(f"{name}: not as `downscale` writes it") and line.count("\n") == 1
        assert "hcflow upscale" in line and "--force" in line
        assert cli.main(["restore", name, "-o", "back.png", "--force", *argv]) == 0
        assert not capsys.readouterr().err
    assert cli.main(["restore", "lr.png", "-o", "back.png", *argv]) == 0
    assert not capsys.readouterr().err and _size("back.png") == (13, 10)


def test_a_resized_small_picture_is_refused(folder, models, capsys):
    argv = ["--checkpoint", models["rescaling"]]
    assert cli.main(["downscale", "photo.png", "-o", "lr.png", *argv]) == 0
    picture = images.read("lr.png")
    images.write("cut.png", picture.rgb[1:], info=picture.info)
    images.write("odd.png", picture.rgb, info={SIZE_KEY: "big"})
    capsys.readouterr()
    _fails(capsys, ["restore", "cut.png", *argv], "cut.png", "downscale")
    _fails(capsys, ["restore", "odd.png", *argv], "odd.png", "'big'")


COMMANDS = ("upscale", "downscale", "restore")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "text", "folder"])
def test_bad_inputs(folder, capsys, command, kind):
    name = f"{kind}.png"
    data = (folder / "photo.png").read_bytes()
    contents = {"empty": b"", "truncated": data[: len(data) // 2], "text": b"hello, world"}
    if kind in contents:
        (folder / name).write_bytes(contents[kind])
    elif kind == "folder":
        os.makedirs(name)
    _fails(capsys, [command, name, "-o", "x.png"], name)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("output", ["absent/x.png", "photo.png/x.png", "/proc/x.png"])
def test_bad_outputs(folder, capsys, command, output):
    _fails(capsys, [command, "photo.png", "-o", output], os.path.dirname(output))


@pytest.mark.parametrize(
    "argv, words",
    [
        (["upscale", "photo.png", "--temperature", "-0.1"], ("'-0.1'",)),
        (["upscale", "photo.png", "--temperature", "2.1"], ("'2.1'", "from 0 to 2")),
        (["upscale", "photo.png", "--temperature", "nan"], ("'nan'",)),
        (["restore", "photo.png", "--temperature", "inf"], ("'inf'",)),
        (["upscale", "photo.png", "--samples", "0"], ("'0'",)),
        (["upscale", "photo.png", "--seed", "x"], ("'x'",)),
        (["upscale", "photo.png", "--scale", "0.5"], ("'0.5' is not a scale", "from 1")),
        (["upscale", "photo.png", "--scale", "inf"], ("'inf' is not a scale",)),
        (["upscale", "photo.png", "--scale", "8.5"], ("--scale 8.5", "×8", "--checkpoint")),
        (["upscale", "photo.png", "--scale", "2", "--width", "30"], ("--width", "--scale")),
        (["upscale", "photo.png", "--width", "12"], ("photo.png has a width of 13",)),
        (["upscale", "photo.png", "--height", "41"], ("photo.png: --height 41", "×4")),
        (
            ["upscale", "photo.png", "--scale", "3", "--region", "1,2,3,4", "--temperature", "1"],
            ("--region", "leave out --scale"),
        ),
        (["upscale", "photo.png", "-o", "photo.png"], ("photo.png", "overwrite")),
        (["upscale", "photo.png", "-o", "x.gif"], (".gif",)),
        (["downscale", "photo.png", "-o", "x.webp"], ("x.webp", ".png", ".jpg")),
        (
            ["upscale", "x_1.png", "-o", "x.png", "--samples", "2", "--temperature", "0.5"],
            ("x_1.png", "overwrite"),
        ),
        (["upscale", "photo.png", "--samples", "2", "-t", "0"], ("same", "--temperature")),
        (["upscale", "clear.png", "-o", "x.jpg"], ("x.jpg", "transparency")),
        (
            ["upscale", "photo.png", "--checkpoint", "absent"],
            ("absent does not exist", "checkpoint", "workdir", ".npz", ".pth"),
        ),
        (["upscale", "photo.png", "--max-pixels", "100"], ("photo.png", "--max-pixels")),
        (["upscale", "photo.png", "clear.png", "-o", "new.png"], ("new.png", "folder")),
        (["upscale", "photo.png", "--checkpoint", "."], ("not a checkpoint",)),
        (["upscale", "photo.png", "--checkpoint", "photo.png"], ("photo.png", "not a checkpoint")),
        (["convert", "photo.png", "-o", "x"], ("photo.png",)),
        (["convert", "absent.npz", "-o", "x"], ("absent.npz",)),
        (["demo", "-o", "photo.png"], ("photo.png", "name another")),
        (["demo", "-o", "new", "--checkpoint", "absent"], ("absent",)),
        (["upscale", "photo.png", "--seed", str(2**31)], (str(2**31), "2^31")),
        *(
            (["upscale", "photo.png", "--temperature", "1", "--region", value], words)
            for value, words in {
                "1,2,3": ("'1,2,3' is not x,y,w,h", "four whole numbers"),
                "1,2,3,4.5": ("'1,2,3,4.5'",),
                "left": ("'left'",),
                "1,2,0,4": ("photo.png: region 1,2,0,4 is empty",),
                "50,2,3,4": ("photo.png: region 50,2,3,4 is not inside", "52×40", "up to 52"),
                "-1,2,3,4": ("--region",),
            }.items()
        ),
        (
            ["upscale", "photo.png", "--region", "1,2,3,4", "-t", "0"],
            ("--region", "--temperature 0.5"),
        ),
        (["upscale", "photo.png", "--region-seed", "2"], ("--region-seed", "--region x,y,w,h")),
        (["upscale", "photo.png", "--region-seed", "0"], ("'0'",)),
        (
            ["upscale", "photo.png", "--temperature-map", "x_1.png", "-t", "0"],
            ("map", "--temperature 0.5"),
        ),
        (
            ["upscale", "photo.png", "--temperature-map", "absent.png", "--temperature", "1"],
            ("absent.png does not exist",),
        ),
        (["upscale"], ("IN",)),
        (["nonsense"], ("nonsense",)),
    ],
)
def test_bad_arguments(folder, capsys, argv, words):
    Image.fromarray(PHOTO).save("x_1.png")
    Image.fromarray(PHOTO).convert("RGBA").save("clear.png")
    _fails(capsys, argv, *words)


def test_a_checkpoint_of_the_other_task_is_refused(folder, models, capsys):
    for command, name in [("upscale", "rescaling"), ("restore", "sr")]:
        argv = [command, "photo.png", "--checkpoint", models[name]]
        _fails(capsys, argv, models[name])


def test_convert_there_and_back(folder, models, capsys):
    assert cli.main(["convert", models["rescaling"], "-o", "w.npz"]) == 0
    assert cli.main(["convert", "w.npz", "-o", "again"]) == 0
    first, second = (checkpoints.load_model(path) for path in (models["rescaling"], "again"))
    assert first[0] == second[0]
    jax.tree.map(np.testing.assert_array_equal, first[1], second[1])
    capsys.readouterr()
    _fails(capsys, ["convert", "w.npz", "-o", "again"], "again", "exists")
    _fails(capsys, ["convert", "w.npz", "-o", "absent/x"], "absent")
    _fails(capsys, ["convert", "w.npz", "-o", "w.pth"], "w.pth", ".npz")
    _fails(capsys, ["convert", "w.npz", "-o", "w[1]"], "w[1]", "name another place")
    _fails(capsys, ["convert", "w.npz", "-o", ""], "empty")
    os.symlink("nowhere", "dangling")
    _fails(capsys, ["convert", "w.npz", "-o", "dangling"], "dangling", "exists")


@pytest.mark.slow
def test_convert_takes_the_mean_of_the_authors_noise_off(folder, models, capsys):
    assert cli.main(["convert", models["sr"], "-o", "w.npz"]) == 0
    assert cli.main(["convert", "w.npz", "-o", "as_they_are"]) == 0  # which says nothing of noise
    assert cli.main(["convert", "as_they_are", "-o", "centred", "--quant", "64"]) == 0
    (model, params), (_, centred) = map(checkpoints.load_model, ("w.npz", "centred"))
    lr = np.full((1, 2, 2, 3), 0.5, np.float32)
    latents = [np.ones(shape, np.float32) for shape in model.latent_shapes(lr.shape)]
    brighter, darker = (model.decode(p, lr, latents) for p in (params, centred))
    np.testing.assert_allclose(brighter - darker, 0.5 / 64, atol=1e-5)
    assert cli.main(["convert", models["rescaling"], "-o", "r.npz"]) == 0
    capsys.readouterr()
    _fails(capsys, ["convert", "r.npz", "-o", "x", "--quant", "64"], "--quant", "r.npz")


@pytest.mark.parametrize("command", [[], *([c] for c in (*COMMANDS, "demo", "convert", "train"))])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) if command != ["train"] else _nothing():
        cli.main([*command, "--help"])
    assert "hcflow" in capsys.readouterr().out


class _nothing:  # noqa: N801
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


@pytest.mark.slow
def test_demo_shows_the_shipped_models(tmp_path):
    """In a process of its own, as a user runs it: float32, the shipped weights."""
    command = [sys.executable, "-m", "hcflow_jax", "demo", "-o", str(tmp_path / "out")]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=optimised(), timeout=300
    )
    assert done.returncode == 0, done.stderr
    figures = [float(line.split(" dB")[0].split()[-1]) for line in done.stdout.splitlines()[:5]]
    bicubic, restored, mode = figures[:3]
    assert restored > bicubic + 1
    assert mode > bicubic - 1.5
    assert _size(tmp_path / "out" / "demo.png")[0] > 1200
    assert {"lr.png", "restored.png", "sample_t0.0.png"} <= set(os.listdir(tmp_path / "out"))


@pytest.mark.slow
def test_tiles_change_nothing_that_shows(folder, models, monkeypatch):
    Image.fromarray(RNG.integers(0, 256, (300, 410, 3), dtype=np.uint8)).save("large.png")
    for tile in (512, 256):
        argv = ["--checkpoint", models["rescaling"], "--tile", str(tile)]
        assert cli.main(["downscale", "large.png", "-o", f"lr{tile}.png", *argv]) == 0
        assert cli.main(["restore", "lr512.png", "-o", f"again{tile}.png", *argv]) == 0
    for name, size in (("lr", (103, 75)), ("again", (410, 300))):
        whole, tiled = (np.asarray(Image.open(f"{name}{tile}.png"), int) for tile in (512, 256))
        assert whole.shape[1::-1] == size and whole.std() > 1
        assert np.abs(whole - tiled).max() <= 1


@pytest.mark.slow
def test_a_picture_as_wide_as_4k_goes_there_and_back(folder):
    asset = images.read(Path(cli.__file__).parents[1] / "assets/chelsea.png").rgb
    wide = Image.fromarray((255 * asset[100:112]).astype(np.uint8)).resize((3840, 100))
    wide.save("wide.png")
    assert cli.main(["downscale", "wide.png", "-o", "lr.png"]) == 0
    assert cli.main(["restore", "lr.png", "-o", "back.png"]) == 0
    assert _size("lr.png") == (960, 25) and _size("back.png") == (3840, 100)
    error = (np.asarray(wide, float) - np.asarray(Image.open("back.png"))) / 255
    assert np.mean(error**2) < 1e-4


def test_a_tile_that_cannot_work_is_refused(folder, photo, models, capsys):
    argv = ["upscale", photo, "--checkpoint", models["sr"], "--tile", "100"]
    _fails(capsys, argv, "100", "256")


@pytest.fixture(scope="session")
def broken(models, tmp_path_factory):
    """{task: a checkpoint whose network gives nothing finite}."""
    folder = tmp_path_factory.mktemp("broken")
    for task in ("sr", "rescaling"):
        model, params = checkpoints.load_model(models[task])
        params = jax.tree.map(lambda leaf: np.full_like(leaf, np.inf), params)
        checkpoints.save_model(folder / task, model, params)
    return {task: str(folder / task) for task in ("sr", "rescaling")}


@pytest.mark.parametrize("command, task", [("upscale", "sr"), ("restore", "rescaling")])
def test_where_a_network_fails_bicubic_is_written_and_said(folder, broken, capsys, command, task):
    argv = [command, "photo.png", "--checkpoint", broken[task], "--temperature", "0.8"]
    argv += ["--force"] if command == "restore" else []
    assert cli.main([*argv, "-o", "big.png"]) == 0
    out, err = capsys.readouterr()
    assert out == "big.png  52×40\n" and err.count("\n") == 1
    assert err.startswith("photo.png: 100 % drawn again") and "100 % enlarged by bicubic" in err
    expected = np.clip(imresize(PHOTO / 255, 4), 0, 1)
    np.testing.assert_allclose(images.read("big.png").rgb, expected, atol=0.51 / 255)
    os.remove("big.png")
    _fails(capsys, [*argv, "--no-check"], "photo.png", "not finite", "leave out --no-check")


def test_it_is_said_where_a_sample_is_not_what_was_asked_for(meadow, models, monkeypatch, capsys):
    def sample_all(model, params, inputs, *_, **__):
        for lr, _ in inputs:
            places = (20, 10, 30, 16), (50, 0, 10, 4)
            yield sampling.Sample(imresize(lr, 4), 0.2, 40 / 2400, True, *places)

    monkeypatch.setattr(sampling, "sample_all", sample_all)
    assert cli.main(["upscale", "meadow.png", "--checkpoint", models["sr"], "-t", "0.5"]) == 0
    err = capsys.readouterr().err
    assert "20 % (of IN columns 20…49, rows 10…25) drawn again" in err
    assert "2 % (of IN columns 50…59, rows 0…3) enlarged by bicubic" in err


def test_a_small_picture_that_is_not_finite_is_refused(folder, broken, capsys):
    argv = ["downscale", "photo.png", "--checkpoint", broken["rescaling"]]
    _fails(capsys, argv, "photo.png", "not finite", "--checkpoint")


def test_what_is_hidden_has_no_influence(folder, models):
    alpha = np.where(np.arange(13) < 6, 0, 255).astype(np.uint8) * np.ones((10, 1), np.uint8)
    for name, under in (("a", 0), ("b", 255)):
        rgb = np.where(alpha[..., None] > 0, PHOTO, under).astype(np.uint8)
        Image.fromarray(np.dstack([rgb, alpha])).save(f"{name}.png")
        argv = [f"{name}.png", "--checkpoint"]
        assert cli.main(["upscale", *argv, models["sr"], "--no-check"]) == 0
        assert cli.main(["downscale", *argv, models["rescaling"]]) == 0
        assert cli.main(["restore", f"{name}_lr.png", "--checkpoint", models["rescaling"]]) == 0
    for kind in ("x4", "lr", "lr_restored"):
        np.testing.assert_array_equal(
            *(np.asarray(Image.open(f"{name}_{kind}.png")) for name in "ab")
        )


def test_a_grey_picture_in_a_colour_file_stays_grey(folder, models):
    Image.fromarray(PHOTO).convert("L").convert("RGB").save("grey.png")
    assert cli.main(["upscale", "grey.png", "--checkpoint", models["sr"], "--no-check"]) == 0
    argv = ["--checkpoint", models["rescaling"]]
    assert cli.main(["downscale", "grey.png", *argv]) == 0
    assert cli.main(["restore", "grey_lr.png", *argv]) == 0
    for name in ("grey_x4.png", "grey_lr_restored.png"):
        with Image.open(name) as image:
            assert image.mode == "L"


def test_a_black_map_and_one_that_would_be_overwritten_are_refused(folder, models, capsys):
    Image.new("L", (4, 4)).save("map.png")
    argv = ["upscale", "photo.png", "--checkpoint", models["sr"], "--temperature", "0.5"]
    _fails(capsys, [*argv, "--temperature-map", "map.png"], "map.png is black", "lighter places")
    argv += ["--temperature-map", "map.png", "-o", "map.png"]
    _fails(capsys, argv, "its result map.png would overwrite map.png")
