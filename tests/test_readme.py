"""The README's commands and snippets, as they stand there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from hcflow_jax import cli
from hcflow_jax.cli.main import _parser
from hcflow_jax.training import recipes
from tests.command import photographs

ASSETS = Path(__file__).parents[1] / "hcflow_jax/assets"
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
SHELL = [text for kind, text in BLOCKS if kind == "sh"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the snippets read: photo.jpg, the folders holiday/ and photos/."""
    monkeypatch.chdir(tmp_path)
    with Image.open(ASSETS / "chelsea.png") as photograph:
        photograph.convert("RGB").resize((30, 20)).save("photo.jpg")
        os.mkdir("holiday")
        photograph.resize((30, 20)).save("holiday/1.png")
    photographs("photos")
    return tmp_path


def _environment():
    """Of a user, but on the CPU, and quick to compile as in all tests."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "JAX_PLATFORMS": "cpu"}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_snippets_run(folder, number):
    code = PYTHON[number]
    if "hcflow_jax" not in code:  # it runs what `hcflow export` wrote, without this package
        assert cli.main(["export", "-o", "sampler.stablehlo"]) == 0
        code = f"import sys; sys.modules['hcflow_jax'] = None\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=_environment()
    )
    assert done.returncode == 0, done.stderr


def _run(block):
    for line in block.splitlines():
        program, *words = shlex.split(line, comments=True)
        assert program == "hcflow" and cli.main(words) == 0, line


@pytest.mark.slow
def test_commands_for_pictures_run(folder):
    (block,) = [text for text in SHELL if "hcflow upscale photo.jpg  " in text]
    _run(block)
    names = {"photo_x4.png", *(f"big_{i}.png" for i in range(1, 6)), "small.png", "again.png"}
    names.add("new.png")
    assert names <= set(os.listdir()) and os.listdir("large") == ["1_x4.png"]
    with Image.open("photo_x4.png") as large, Image.open("again.png") as again:
        assert (large.size, again.size) == ((120, 80), (30, 20))


@pytest.mark.slow
def test_commands_for_likelihoods_run(folder):
    (block,) = [text for text in SHELL if "hcflow score photo.jpg" in text]
    _run(block)
    assert {"scores.json", "photo.npz", "latents.png"} <= set(os.listdir())
    with Image.open("exactly.png") as again, Image.open("photo.jpg") as photograph:
        assert again.tobytes() == photograph.tobytes()


def _commands():
    """Every hcflow command of the shell blocks, as words."""
    text = "\n".join(SHELL).replace("\\\n", " ").replace("&&", "\n").replace(";", "\n")
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line.startswith("hcflow ")]


@pytest.mark.parametrize("line", _commands())
def test_commands_are_understood(line):
    words = shlex.split(re.sub(r"\[.*?\]", "", line).replace("…", ""))[1:]
    if words[0] != "train":
        _parser().parse_args(words)
        return
    flags = dict(word.removeprefix("--").split("=", 1) for word in words[1:] if "=" in word)
    if "config" not in flags:  # "hcflow train … --distributed"
        return
    config = recipes.load(flags.pop("config"))
    for name in flags:
        if name.startswith("config."):
            section, *field = name.split(".")[1:]
            assert field[0] in config[section] if field else section in config, name
