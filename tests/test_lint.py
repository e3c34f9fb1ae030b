"""Style, and what a wheel holds."""

import configparser
import subprocess
import sys
from pathlib import Path

import pytest


def test_ruff_finds_nothing():
    root = Path(__file__).parents[1]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, str(root)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_mypy_finds_nothing(tmp_path):
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_is_in_the_wheel():
    root = Path(__file__).parents[1]
    parser = configparser.ConfigParser()
    parser.read(root / "setup.cfg")
    listed = set(parser["options"]["packages"].split())
    there = {".".join(p.parent.relative_to(root).parts) for p in root.glob("hcflow_jax/**/*.py")}
    assert listed == there | {"hcflow_jax.configs"}


def test_every_other_file_is_in_the_wheel():
    root = Path(__file__).parents[1]
    parser = configparser.ConfigParser()
    parser.read(root / "setup.cfg")
    listed = set()
    for package, patterns in parser["options.package_data"].items():
        folder = root.joinpath(*package.split("."))
        listed |= {p for pattern in patterns.split(",") for p in folder.glob(pattern.strip())}
    files = {
        p for p in root.glob("hcflow_jax/**/*") if p.is_file() and "__pycache__" not in p.parts
    }
    assert {p for p in files if p.suffix != ".py"} == listed


def test_no_module_is_longer_than_four_hundred_lines():
    root = Path(__file__).parents[1]
    long = [p for p in root.glob("hcflow_jax/**/*.py") if len(p.read_text().splitlines()) > 400]
    assert not long
