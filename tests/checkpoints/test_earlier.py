"""What earlier versions wrote is read, and its training goes on."""

import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest

from hcflow_jax import checkpoints, cli
from tests.command import arguments, log

ARCHIVE = Path(__file__).parents[1] / "fixtures/earlier.tar.xz"
FLAGS = (
    "--config.train.tensorboard=False",
    "--config.model.steps=(4,)",
    "--config.model.conditional_steps=(1,)",
    "--config.model.growth=1",
    "--config.model.hidden=2",
)


@pytest.fixture
def earlier(tmp_path, monkeypatch):
    """The unpacked folder, which is the working one too."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path / "earlier")
    return tmp_path / "earlier"


@pytest.mark.parametrize(
    "name, task", [("sr_checkpoint", "sr"), ("rescaling_workdir", "rescaling")]
)
def test_it_decodes_to_the_recorded_picture(earlier, name, task):
    model, params = checkpoints.load_model(earlier / name)
    lr = np.linspace(0, 1, 18).reshape(1, 2, 3, 3).astype(np.float32)
    latents = [np.full(shape, 0.5, np.float32) for shape in model.latent_shapes(lr.shape)]
    found = jax.jit(model.decode)(params, lr, latents)
    np.testing.assert_allclose(found, np.load("decoded.npz")[task], rtol=0, atol=1e-5)


def test_its_training_goes_on_as_it_did(earlier, capsys):
    command = arguments("rescaling_workdir", *FLAGS, config="rescaling_x4.py:smoke")
    assert cli.main(command) == 0
    assert "resuming from step 2, to step 4" in capsys.readouterr().out
    found, expected = log("rescaling_workdir"), log(".")
    assert [line["step"] for line in found] == [line["step"] for line in expected]
    for line, recorded in zip(found, expected, strict=True):
        assert line == pytest.approx(recorded, rel=1e-5)
