"""Training through the command line: what it says, writes, refuses and continues."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hcflow_jax import checkpoints, cli, errors, images, sampling
from hcflow_jax.data import pipeline
from hcflow_jax.training import loop as training
from tests.command import arguments, config, log, photographs, recipe, saved, train
from tests.reference import recipe as reference
from tests.support import modules


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with photographs and a finished training of four steps, "run"."""
    folder = tmp_path_factory.mktemp("train")
    before = os.getcwd()
    os.chdir(folder)
    photographs("photos")
    photographs("others", seed=1)
    flags = ("--config.valid.path=others", "--config.train.ema=0.5", "--config.valid.samples=2")
    assert train("run", *flags, "--config.train.tensorboard=True") == 0
    yield folder
    os.chdir(before)


@pytest.fixture
def run(root, tmp_path):
    """A copy of the finished training, to be spoilt."""
    shutil.copytree("run", tmp_path / "run")
    return tmp_path / "run"


SAME = ("--config.train.ema=0.5", "--config.valid.path=others")


def test_it_says_what_it_does(root, capsys):
    assert train("run", *SAME) == 0
    out = capsys.readouterr().out
    for words in (
        "training sr ×2",
        "photos, 3 images",
        "patches of 32",
        "devices: 2 × cpu",
        "resuming from step 4, to step 4",
        "finished before: 4 steps done (more by --config.train.steps=N)",
        "the checkpoint to use",
        "hcflow upscale --scale=2 --checkpoint=run",
        "4 steps teach next to nothing: expect bicubic interpolation",
    ):
        assert words in out
    assert "bits_per_dim starts" not in out
    assert "kernel" in (root / "run/parameters.txt").read_text()


def test_names_are_shown_without_control_characters(run, tmp_path, capsys):
    workdir, data = run.rename(tmp_path / "r\x1bn"), tmp_path / "ph\x1bs"
    shutil.copytree("photos", data)
    assert train(workdir, *SAME, data=data) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err and r"r\x1bn" in out and r"ph\x1bs, 3 images" in out


def test_it_logs_losses_and_figures(root):
    lines = log("run")
    assert [line["step"] for line in lines] == [1, 2, 2, 4, 4]
    assert {"nll", "bits_per_dim", "loss/likelihood", "learning_rate"} <= lines[0].keys()
    # the LR image has mean 0 and deviation 1, and lies at 0…1: (1 + E lr²) / (2 e⁻¹²) nats of each
    # of its values, a quarter as many as those of the HR image
    expected = (1 + 1 / 4) / (2 * np.exp(-12)) / 4 / np.log(2)
    assert lines[0]["lr_bits_per_dim"] == pytest.approx(expected, rel=0.2)
    names = ("nll", "bits_per_dim", "psnr_y@0", "ssim_y@0", "lr_psnr@0.9", "diversity@0.9")
    assert {f"valid/{name}" for name in names} <= lines[2].keys()
    assert {"valid/psnr_y@bicubic", "valid/ssim@bicubic", "valid/lr_ssim@0"} <= lines[2].keys()
    assert all(np.isfinite(v) for line in lines for v in line.values())
    times = [json.loads(line)["time"] for line in Path("run/log.jsonl").read_text().splitlines()]
    assert times == sorted(times) and abs(times[0] - time.time()) < 3600


def test_the_config_lies_in_the_workdir(root):
    found = json.loads((root / "run/config.json").read_text())
    assert found["train"]["ema"] == 0.5 and found["valid"]["path"] == "others"
    assert found["model"]["task"] == "sr" and found["loss"]["quant"] == 64


@pytest.mark.slow
def test_without_validation_images_training_images_are_drawn(run, capsys):
    flags = ("--config.train.ema=0.5", "--config.train.steps=5")
    assert train(run, *flags, "--config.train.tensorboard=True") == 0
    assert "step 5  of training images" in capsys.readouterr().out
    assert "training/psnr_y@bicubic" in log(run)[-1]
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert {"training/hr", "training/sample@0.9"} <= set(events.Tags()["tensors"])
    assert not checkpoints.scores(run / "checkpoints").get(5)


def test_tensorboard_has_scalars_pictures_and_the_config(root):
    events = EventAccumulator("run/tensorboard")
    events.Reload()
    tags = set(events.Tags()["tensors"])
    assert {"nll", "valid/psnr_y@0", "valid/sample@0.9", "valid/spread@0.9", "valid/lr"} <= tags
    assert any("hparams" in tag for tag in events.summary_metadata)


def test_the_best_checkpoint_is_loaded_and_its_average(run):
    scores = {line["step"]: line["valid/psnr_y@0"] for line in log(run) if "valid/nll" in line}
    best = max(scores, key=scores.get)
    assert checkpoints.best(run).name == str(best)
    _, params = checkpoints.load_model(run)
    items = saved(run, best)
    jax.tree.map(np.testing.assert_array_equal, params, items["ema"])
    shutil.rmtree(run / "checkpoints" / str(best))
    other = next(step for step in scores if step != best)
    assert checkpoints.best(run).name == str(other)


@pytest.mark.parametrize("said", [{"dequantization": "published"}, {}], ids=["said", "earlier"])
@pytest.mark.parametrize("pixel", [0.0, 1.0])
def test_the_mean_of_published_noise_is_taken_off_what_likelihood_alone_trained(
    run, capsys, said, pixel
):
    """Checkpoints of earlier versions do not say their noise, which was the published one."""
    step = checkpoints.best(run)
    file = next(f for f in (step / "config").iterdir() if b"dequantization" in f.read_bytes())
    values = json.loads(file.read_text())
    del values["loss"]["dequantization"]
    values["loss"] |= said | {"pixel_weight": pixel}
    file.write_text(json.dumps(values))
    shutil.rmtree(step / "hashes")  # as earlier versions, which had none
    (_, centred), (_, as_trained) = (
        checkpoints.load_model(run, as_trained=t) for t in (False, True)
    )
    norms = (p["level0"]["flow"]["turns"]["affine"]["actnorm"] for p in (centred, as_trained))
    found, trained = (np.asarray(norm["bias"][0]) for norm in norms)
    np.testing.assert_allclose(found - trained, 0 if pixel else 0.5 / 64, atol=1e-7)
    assert cli.main(["convert", str(run), "-o", "w.npz"]) == 0
    assert ("taken off" in capsys.readouterr().out) == (not pixel)
    assert cli.main(["convert", str(run), "-o", "x.npz", "--quant", "64"]) == 2
    os.remove("w.npz")
    capsys.readouterr()
    assert cli.main(["convert", str(run), "-o", "x.npz", "--as-trained"]) == 0
    assert "taken off" not in capsys.readouterr().out
    again = checkpoints.load_model("x.npz")[1]
    jax.tree.map(np.testing.assert_array_equal, again, as_trained)
    os.remove("x.npz")


@pytest.mark.slow
@pytest.mark.parametrize("colour", ["green", "white"])
def test_pictures_with_constant_channels_train(tmp_path, monkeypatch, colour):
    monkeypatch.chdir(tmp_path)
    photographs("photos")
    for file in os.listdir("photos"):
        pixels = images.read(f"photos/{file}").rgb
        pixels[..., [0, 2] if colour == "green" else [0, 1, 2]] = 0 if colour == "green" else 1
        images.write(Path(f"photos/{file}"), pixels)
    flags = ("--config.model.steps=(8,)", "--config.model.conditional_steps=(1,)")
    flags += ("--config.train.steps=2", "--config.train.tensorboard=False")
    assert cli.main(arguments("w", *flags, config="rescaling_x4.py:smoke")) == 0
    assert log("w")[-1]["skipped"] == 0 and log("w")[-1]["latents"] < 100


@pytest.mark.parametrize("damage", [lambda text: "x", lambda text: text.replace("1", "2")])
def test_a_damaged_score_is_named_with_a_remedy_that_works(run, capsys, damage):
    file = checkpoints.best(run) / "metrics/metrics"
    file.write_text(damage(file.read_text()))
    with pytest.raises(checkpoints.CheckpointError, match="damaged score"):
        checkpoints.best(run)
    assert train(run, *SAME, "--config.train.steps=6") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(file) in error
    subprocess.run(re.search("`(.*)`", error)[1], shell=True, check=True)
    assert checkpoints.best(run) != file.parents[1]


def test_upscale_as_trained_takes_the_mean_off_nothing(root, monkeypatch):
    """The flag reaches the one function that loads."""
    asked = []
    monkeypatch.setattr(sampling, "load", lambda *_, **named: asked.append(named) or _stop())
    for flags in ([], ["--as-trained"]):
        with contextlib.suppress(KeyError):
            cli.main(["upscale", "photos", "--scale", "2", "-o", "none", *flags])
    assert [named["as_trained"] for named in asked] == [False, True]


def _stop():
    raise KeyError


def test_stopping_and_continuing_is_as_never_having_stopped(root, monkeypatch, capsys):
    asked = iter([True])
    monkeypatch.setattr(training.Preemption, "due", lambda self, step: step == 3 and next(asked))
    assert train("parts", *SAME, "--config.valid.samples=2") == 0
    out = capsys.readouterr().out
    assert "bits_per_dim starts in the thousands" in out and "stopped at step 3, saved" in out
    monkeypatch.undo()
    os.chdir(root)
    assert train("parts", *SAME, "--config.valid.samples=2", "--config.data.workers=1") == 0
    assert "resuming from step 3" in capsys.readouterr().out
    assert log("parts") == log("run")
    jax.tree.map(np.testing.assert_array_equal, saved("parts", 4), saved("run", 4))


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--config.train.seed=1"], ("train.seed 0", "1", "init_from")),
        (["--config.model.hidden=6"], ("model.hidden 4", "6")),
        (["--config.loss.quant=128"], ("loss.quant 64", "128", "set --config.loss.quant=64,")),
        (["--config.data.path=others"], ("training data", "--config.data.changed=accept")),
    ],
)
def test_a_changed_training_is_not_continued(run, capsys, flags, words):
    before = sorted(os.listdir(run / "checkpoints"))
    assert train(run, *SAME, *flags) == 2
    out, error = capsys.readouterr()
    assert error.count("\n") == 1 and all(word in error for word in (*words, "--workdir")), error
    assert "resuming" not in out
    assert sorted(os.listdir(run / "checkpoints")) == before


def test_what_does_not_change_the_training_may_change(run, capsys):
    flags = ("--config.train.log_every=1", "--config.model.remat=True", "--config.valid.count=1")
    assert train(run, *SAME, *flags) == 0
    out = capsys.readouterr().out
    assert "resuming from step 4" in out
    assert "scores up to step 4 are of other validation images or settings" in out


@pytest.mark.slow
def test_changed_data_may_be_accepted_and_are_then_those_of_the_training(run, capsys):
    flags = (*SAME, "--config.train.steps=5", "--config.data.path=others")
    assert train(run, *flags, "--config.data.changed=accept", "--config.valid.path=") == 0
    assert "the training data have changed, and are accepted" in capsys.readouterr().out
    assert train(run, *flags, "--config.valid.path=") == 0
    assert "have changed" not in capsys.readouterr().out


def test_damaged_pictures_are_told_before_the_first_step(root, capsys):
    photographs("spoilt", count=4)
    for name in ("1", "3"):
        with open(f"spoilt/{name}.png", "r+b") as file:
            file.truncate(900)
    assert train("never", data="spoilt") == 2
    out, error = capsys.readouterr()
    assert "spoilt/1.png is truncated" in error and "spoilt/3.png is truncated" in error
    assert error.count("\n") == 1 and "compiling" not in out
    assert checkpoints.finished_steps(root / "never/checkpoints") == []


def test_a_stop_before_the_first_step_says_that_nothing_is_saved(root, run, monkeypatch, capsys):
    monkeypatch.setattr(training.Preemption, "asked", lambda self: True)
    assert train("unbegun") == 0
    assert "stopped while the data were checked" in capsys.readouterr().out
    monkeypatch.undo()
    os.chdir(root)
    monkeypatch.setattr(training.Preemption, "watched", _asked_from_the_start)
    monkeypatch.setattr(training.Preemption, "check", lambda self: None)
    assert train("unbegun") == 0
    assert "stopped before the first step, there is nothing to save" in capsys.readouterr().out
    assert checkpoints.finished_steps(root / "unbegun/checkpoints") == []


@contextlib.contextmanager
def _asked_from_the_start(self):
    self.requested = True
    yield self


@pytest.mark.slow
def test_a_stop_while_data_do_not_come_costs_no_steps(root, monkeypatch, capsys):
    given, get = iter(range(2)), pipeline.Batches.get

    def late(self, seconds):
        return None if next(given, None) is None else get(self, 60)

    monkeypatch.setattr(pipeline.Batches, "get", late)
    monkeypatch.setattr(training.Preemption, "asked", lambda self: not list(given))
    monkeypatch.setattr(training.Preemption, "check", lambda self: None)
    assert train("late", "--config.train.save_every=4") == 0
    assert "stopped at step 2, saved; the same command continues" in capsys.readouterr().out
    assert checkpoints.finished_steps(root / "late/checkpoints") == [2]


def test_waiting_for_data_has_a_limit():
    data = types.SimpleNamespace(timeout=0.01)
    itself = types.SimpleNamespace(config=types.SimpleNamespace(data=data))
    batches = types.SimpleNamespace(
        get=lambda seconds: None, late=lambda limit: errors.UserError(f"waited {limit}")
    )
    with pytest.raises(errors.UserError, match=r"waited 0\.01"):
        training.Training._next(itself, batches, training.Preemption())


@pytest.mark.slow
def test_a_stop_in_a_validation_saves_at_once_and_it_is_made_up_for(root, monkeypatch, capsys):
    def stopped(self, params, seed, poll):
        raise training.Stopped

    flags = ("--config.train.steps=2", "--config.valid.path=others", "--config.valid.samples=2")
    with monkeypatch.context() as patched:
        patched.setattr(training.inputs.Validation, "__call__", stopped)
        assert train("validated", *flags) == 0
        assert "stopped at step 2, saved" in capsys.readouterr().out
    os.chdir(root)
    score = root / "validated/checkpoints/2/metrics/metrics"
    assert not score.exists()
    assert train("validated", *flags) == 0
    assert "done; the checkpoint to use is" in capsys.readouterr().out
    assert json.loads(score.read_text())["psnr_y"] == log("validated")[-1]["valid/psnr_y@0"]
    before = log("validated")
    assert train("validated", *flags) == 0 and log("validated") == before


def test_the_table_of_parameters_is_written_beside_a_link_and_by_the_umask(run, tmp_path):
    (tmp_path / "mine").write_text("kept")
    (run / "parameters.txt").unlink()
    (run / "parameters.txt").symlink_to(tmp_path / "mine")
    before = os.umask(0o027)
    try:
        assert train(run, *SAME) == 0
    finally:
        os.umask(before)
    assert (tmp_path / "mine").read_text() == "kept"
    assert (run / "parameters.txt").lstat().st_mode & 0o777 == 0o640


def test_a_workdir_that_cannot_hold_checkpoints_is_refused_before_anything_is_done(root, capsys):
    assert train("a[1]/run", data="absent") == 2
    error = capsys.readouterr().err
    assert "a[1]/run: checkpoints cannot be kept below a name with [" in error
    assert not os.path.exists("a[1]")


def test_wrong_flags_are_told_before_the_long_imports(root, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "hcflow_jax.training.loop", None)
    assert train("w", "--config.train.zap=1") == 2
    assert "the config has no field train.zap; see" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flag, told",
    [
        ("train.lerning_rate=1", "train.lerning_rate; did you mean train.learning_rate?"),
        ("trian.steps=1", "trian.steps; did you mean model.steps or train.steps?"),
        ("batch_size=1", "batch_size; did you mean train.batch_size?"),
        ("train_steps=1", "train_steps; did you mean train.steps?"),
        ("qunat=1", "qunat; did you mean loss.quant?"),
        ("steps=1", "steps; did you mean model.steps or train.steps?"),
        ("train.steps.x=1", "train.steps.x; did you mean train.steps?"),
        ("loss.lr_weight=1", "loss.lr_weight, which is one of the other task; see"),
        ("loss.nll=1", "loss.nll, it is called loss.nll_weight now; see"),
        ("train.quant=1", "train.quant; did you mean loss.quant?"),
        ("zap=1", "zap; see `hcflow train --help`"),
    ],
)
def test_the_field_that_was_meant_is_told(root, capsys, flag, told):
    assert train("w", f"--config.{flag}") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"hcflow: the config has no field {told}") and error.count("\n") == 1


@pytest.mark.parametrize(
    "line, field", [("train.lerning_rate = 1", "train.lerning_rate"), ("new = config.rate", "rate")]
)
def test_a_field_that_a_file_sets_is_told_too(root, capsys, line, field):
    text = f"""
from hcflow_jax.training import recipes
def get_config():
    config = recipes.sr()
    config.{line}
    return config
"""
    Path("own.py").write_text(text)
    assert cli.main(["train", "--config=own.py", "--workdir=w", "--config.data.path=photos"]) == 2
    assert f"the config has no field {field}" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_named_and_kept(run, capsys):
    (run / "checkpoints/4/training").rename(run / "away")
    before = sorted(os.listdir(run / "checkpoints"))
    assert train(run, *SAME, "--config.train.steps=6") == 2
    error = capsys.readouterr().err
    assert "checkpoints/4 is damaged" in error and error.count("\n") == 1
    assert sorted(os.listdir(run / "checkpoints")) == before


def _vgg(path):
    weights = reference.weights(modules()[1]["vgg19"])
    np.savez(path, **{name.removeprefix("vgg19."): array for name, array in weights.items()})


@pytest.mark.slow
def test_plusplus_starts_from_a_training_with_every_loss(root, capsys):
    _vgg("vgg.npz")
    flags = (
        "--config.loss.perceptual_weight=0.05",
        "--config.loss.vgg=vgg.npz",
        "--config.discriminator.kind=patchgan",
        "--config.discriminator.layers=1",
        "--config.discriminator.first_steps=1",
        "--config.train.accumulate=2",
        "--config.train.steps=2",
    )
    named = {"config": "sr_x4.py:plusplus-smoke"}
    assert train("plusplus", *flags, **named) == 2
    assert "--config.init_from" in capsys.readouterr().err
    assert train("plusplus", *flags, "--config.init_from=run", **named) == 2
    assert "vgg.npz has SHA-256" in capsys.readouterr().err
    assert not os.path.exists("plusplus")
    flags += ("--config.init_from=run", "--config.loss.vgg_sha256=")
    assert train("plusplus", *flags, **named) == 0
    assert "from run, to step 2" in capsys.readouterr().out
    first, second = log("plusplus")
    assert "nll" not in first and "d_real" in first
    assert {"nll", "pixel", "perceptual", "gan", "d_fake"} <= second.keys()
    kept = saved("plusplus", 2)["training"]["discriminator"]
    assert kept.keys() == {"params", "opt_state"}
    assert train("plusplus", *flags, **named) == 0
    assert "resuming from step 2" in capsys.readouterr().out


@pytest.mark.slow
def test_a_picture_that_is_damaged_costs_no_steps(root, capsys, monkeypatch):
    count, get = iter(range(3)), pipeline.Batches.get

    def broken(self, seconds):
        if next(count, None) is None:
            raise images.ImageError("1.png is damaged; export it again")
        return get(self, 60)

    monkeypatch.setattr(pipeline.Batches, "get", broken)
    assert train("damaged") == 2
    error = capsys.readouterr().err
    assert "1.png is damaged; export it again; step 3 is saved: the same command cont" in error
    assert "--config.data.changed=accept" in error and error.count("\n") == 1
    assert max(checkpoints.finished_steps(root / "damaged/checkpoints")) == 3


def test_a_profile_is_recorded(root):
    flags = ("--config.train.steps=11", "--config.train.profile=1", "--config.train.log_every=11")
    assert train("profiled", *flags, "--config.train.save_every=11") == 0
    assert list((root / "profiled/profile").rglob("*.xplane.pb"))


def test_plus_from_another_model_is_refused(root, capsys):
    flags = ("--config.init_from=run", "--config.model.hidden=6")
    assert train("plus", *flags, config="sr_x4.py:plus-smoke") == 2
    error = capsys.readouterr().err
    assert "run holds a model with hidden 4, the config says 6" in error


@pytest.mark.slow
def test_rescaling_trains_in_little_memory_and_its_small_picture_is_scored(root):
    flags = ["--config.train.steps=2", "--config.valid.path=others"]
    flags += [f"--config.model.{name}=True" for name in ("remat", "reversible")]
    assert train("rescaling", *flags, config="rescaling_x4.py:jpeg-smoke") == 0
    model, _ = checkpoints.load_model("rescaling")
    assert model.task == "rescaling"
    losses, figures = log("rescaling")[-2:]
    assert {"hr", "lr", "latents"} <= losses.keys()
    assert np.isfinite(figures["valid/lr_psnr_own"]) and "valid/psnr_y@1" in figures
    assert {"valid/psnr_y@jpeg 90", "valid/psnr_y@bicubic, jpeg 90"} <= figures.keys()


@pytest.mark.slow
def test_training_that_diverges_stops_and_says_where(root, capsys):
    flags = ("--config.train.learning_rate=1e30", "--config.train.max_skipped=2")
    assert train("wild", *flags, "--config.train.steps=20", "--config.train.save_every=1") == 2
    error = capsys.readouterr().err
    assert "2 steps in a row up to step 3" in error and "--config.init_from=wild" in error
    assert checkpoints.finished_steps(root / "wild/checkpoints") == [1]
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(saved("wild", 1)["params"]))
    assert log("wild")[-1]["nll"] is None


def test_configs_are_the_published_recipes():
    expected = {
        ("sr_x4", "hcflow"): (300_000, 2.5e-4, [150_000, 225_000, 270_000, 285_000]),
        ("sr_x4", "plus"): (50_000, 5e-5, [20_000, 40_000]),
        ("sr_x4", "plusplus"): (50_000, 1.25e-5, [20_000, 40_000]),
        ("sr_x8", "hcflow"): (350_000, 2.5e-4, [200_000, 250_000, 280_000, 310_000, 340_000]),
        ("sr_x8", "plus"): (50_000, 5e-5, [20_000, 40_000]),
        ("sr_x8", "plusplus"): (50_000, 1.25e-5, [20_000, 40_000]),
        ("rescaling_x4", "hcflow"): (
            *(500_000, 2.5e-4),
            [100_000, 200_000, 300_000, 400_000, 450_000],
        ),
    }
    for (name, variant), (steps, rate, halvings) in expected.items():
        found = config(name, variant)
        assert (found.train.steps, found.train.batch_size, found.data.patch_size) == (
            steps,
            16,
            160,
        )
        schedule = recipe(found).schedule
        for k, at in enumerate(halvings):
            np.testing.assert_allclose(schedule(at - 1), rate / 2**k, rtol=1e-6)
            np.testing.assert_allclose(schedule(at), rate / 2 ** (k + 1), rtol=1e-6)
    found.train.schedule = "cosine"
    falling = recipe(found).schedule
    np.testing.assert_allclose(falling(250_000), 1.25e-4, rtol=1e-3)
    full = config("sr_x4", "plusplus")
    weights = [full.loss[f"{name}_weight"] for name in ("nll", "pixel", "perceptual", "gan")]
    assert weights == [2e-3, 1, 0.05, 0.5]
    assert (full.loss.temperature, config("sr_x8", "plusplus").loss.temperature) == (0.9, 0.8)
    assert (full.discriminator.first_steps, full.discriminator.learning_rate) == (1500, 5e-5)


BAD = [
    (["--config=absent.py", "--workdir=w"], ("absent.py",)),
    (["--config=absent:tiny", "--workdir=w"], ("'absent'", "sr_x4", "FILE.py")),
    (["-config=absent:tiny", "--workdir=w"], ("'absent'", "sr_x4", "FILE.py")),
    (["--config=c.py:nonsense", "--workdir=w"], ("hcflow: unknown variant 'nonsense'",)),
    (["--config=c.py", "--workdir=w", "--config.train.zap=1"], ("no field train.zap;",)),
    (
        ["--config=c.py", "--workdir=w", "--config.loss.nll=1"],
        ("no field loss.nll, it is called loss.nll_weight",),
    ),
    (["--config=c.py", "--workdir=w", "--config.train.steps=x"], ("x",)),
    (["--config=c.py"], ("--workdir",)),
    (["--workdir=w"], ("--config",)),
    (["--config=c.py", "--workdir=w", "--config.data.path="], ("--config.data.path",)),
    (["--config=c.py", "--workdir=w", "--config.data.path=zz"], ("zz",)),
    (["--config=c.py", "--workdir=w", "--config.data.patch_size=64"], ("64",)),
    *(
        (["--config=c.py", "--workdir=w", f"--config.{field}={value}"], (field, value))
        for field, value in (
            ("train.steps", "0"),
            ("train.save_every", "0"),
            ("train.log_every", "0"),
            ("train.batch_size", "-2"),
            ("train.accumulate", "0"),
            ("train.ema", "1"),
            ("train.schedule", "linear"),
            ("train.milestones", "(-1.0,)"),
            ("train.restarts", "('a',)"),
            ("train.periods", "(0.0,)"),
            ("train.least_rate", "-1.0"),
            ("valid.temperatures", "('a',)"),
            ("train.max_skipped", "0"),
            ("train.learning_rate", "nan"),
            ("loss.quant", "0"),
            ("loss.nll_weight", "-1"),
            ("loss.gan_type", "began"),
            ("loss.pixel_norm", "l3"),
            ("discriminator.kind", "unet"),
            ("data.patch_size", "0"),
            ("data.workers", "-1"),
            ("valid.every", "0"),
            ("valid.temperatures", "()"),
        )
    ),
    (["--config=c.py", "--workdir=w", "--config.model.hidden=0"], ("hidden", "0")),
    (["--config=c.py", "--workdir=w", "--config.model.dtype=float8"], ("dtype", "float8")),
    (["--config=c.py", "--workdir=w", "--config.loss.nll_weight=0"], ("loss.nll_weight",)),
    (["--config=c.py", "--workdir=w", "--config.train.batch_size=3"], ("batch of 3", "2 devices")),
    (["--config=c.py", "--workdir=w", "--config.train.accumulate=4"], ("2 devices × 4 parts",)),
    (["--config=c.py", "--workdir=w", "--config.train.restarts=(0.5,)"], ("1 restarts",)),
    (["--config=c.py", "--workdir=w", "--config.init_from=zz"], ("zz",)),
    (["--config=c.py:plus-smoke", "--workdir=w"], ("--config.init_from",)),
    (["--config=lame.py", "--workdir=w"], ("loss.quant", "configs/")),
    (["--config=empty.py", "--workdir=w"], ("model", "configs/")),
    (["--config=wrong.py", "--workdir=w"], ("zap",)),
    (["--config=c.py", "--workdir=photos/0.png"], ("photos/0.png",)),
    (["--config=c.py", "--workdir=photos/0.png/w"], ("photos/0.png/w", "--workdir")),
    (
        ["--config=c.py", "--workdir=w", "--config.valid.path=others", "--config.valid.size=12"],
        ("others/0.png", "12×12", "valid.size"),
    ),
    (["extra"], ("extra",)),
]


@pytest.mark.parametrize("flags, words", BAD)
def test_bad_arguments(root, capsys, flags, words):
    if not os.path.exists("c.py"):
        _write_configs()
    assert cli.main(["train", *flags]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(word in error for word in words), error
    assert not os.path.exists("w/checkpoints") or not os.listdir("w/checkpoints")
    shutil.rmtree("w", ignore_errors=True)


def _write_configs():
    text = """
from hcflow_jax.training import recipes
def get_config(variant="smoke"):
    name, size = recipes.parse(variant, ("hcflow", "plus"))
    config = recipes.sr()
    config.model.update(dict(steps=(2,), conditional_steps=(1,)))
    config.data.path = "photos"
    recipes.plus(config, name) if name == "plus" else None
    recipes.shrink(config, size)
    return config
"""
    for name, broken in {
        "c": "return config",
        "lame": "del config.loss.quant; return config",
        "empty": "del config.model; return config",
        "wrong": "config.model = 'zap'; return config",
    }.items():
        with open(f"{name}.py", "w") as file:
            file.write(text.replace("return config", broken))
