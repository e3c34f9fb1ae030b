"""`--dtype`: what a checkpoint says of its arithmetic, said anew."""

import os
import typing

import pytest
from PIL import Image

from hcflow_jax import UserError, cli, sampling
from hcflow_jax.cli import arguments
from hcflow_jax.model import NetworkDtype
from hcflow_jax.sampling import encoded_files
from tests.tiny import SR

COMMANDS = {
    "upscale": ["photo.png"],
    "restore": ["photo.png"],
    "downscale": ["photo.png"],
    "score": ["photo.png"],
    "latents": ["photo.png"],
    "evaluate": ["folder"],
    "export": ["-o", "x"],
}


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """The dtypes for which networks were to be loaded, of which none is."""
    found = []

    def load(*_, dtype=None, **__):
        found.append(dtype)
        raise UserError("no network")

    monkeypatch.setattr(sampling, "load", load)
    monkeypatch.chdir(tmp_path)
    os.mkdir("folder")
    for name in ("photo.png", "folder/photo.png"):
        Image.new("RGB", (8, 8)).save(name)
    return found


def test_the_choices_are_those_of_models():
    assert typing.get_args(NetworkDtype) == arguments.DTYPES


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_load_networks_as_asked(asked, capsys, command):
    argv = [command, *COMMANDS[command], "--checkpoint", "run"]
    assert cli.main(argv) == cli.main([*argv, "--dtype", "bfloat16"]) == 2
    assert asked == [None, "bfloat16"] and "no network" in capsys.readouterr().err


def test_what_comes_back_to_the_bit_is_float32(asked, monkeypatch):
    info = encoded_files.Info("sr", 4, 8, 8, False, 1024, "")
    monkeypatch.setattr(encoded_files, "read_info", lambda *_: info)
    assert cli.main(["encode", "photo.png", "-o", "x.npz"]) == 2
    assert cli.main(["decode", "x.npz", "-o", "x.png"]) == 2
    assert asked == ["float32", "float32"]


def test_others_are_refused(asked, capsys):
    assert cli.main(["upscale", "photo.png", "--dtype", "float16"]) == 2
    assert "choose from" in capsys.readouterr().err and not asked


def test_a_loaded_model_has_it():
    found = {dtype: sampling.load(dtype=dtype)[0].dtype for dtype in (None, *arguments.DTYPES)}
    assert found == {None: SR.dtype} | {dtype: dtype for dtype in arguments.DTYPES}
    with pytest.raises(UserError, match="dtype must be one of float32"):
        sampling.load(dtype="float16")
