"""Mistyped commands and options, short forms, and `hcflow help`."""

import os
import subprocess
import sys

import pytest

import hcflow_jax
from hcflow_jax import cli
from hcflow_jax.cli.main import _parser


def _error(capsys, *argv):
    assert cli.main([*argv]) == 2
    out, error = capsys.readouterr()
    assert not out and error.count("\n") == 1
    return error.removeprefix("hcflow: ").strip()


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("photo.jpg", "upscale photo.jpg"),
        ("absent.PNG -t 0.5", "upscale absent.PNG -t 0.5"),
        ("a_folder", "upscale a_folder"),
        ("upscal photo.jpg", "upscale photo.jpg"),
        ("Downscale photo.jpg", "downscale photo.jpg"),
        ("--upscale photo.jpg", "upscale photo.jpg"),
        ("--scale 4 photo.jpg", "upscale --scale 4 photo.jpg"),
        ("-t=0.5 photo.jpg", "upscale -t=0.5 photo.jpg"),
        ("enlarge photo.jpg", "upscale photo.jpg"),
        ("trian --config=sr_x4", "train --config=sr_x4"),
        ("help upscal", "upscale --help"),
        ("--verson", "--version"),
    ],
)
def test_the_command_that_was_meant_is_told(tmp_path, monkeypatch, capsys, typed, meant):
    monkeypatch.chdir(tmp_path)
    os.mkdir("a_folder")
    assert _error(capsys, *typed.split()).endswith(f"did you mean `hcflow {meant}`?")


def test_what_resembles_no_command_is_told_to_be_none(capsys):
    for typed in ("nonsense", "-x", "", "\x1b[31m"):
        assert _error(capsys, typed).endswith("is no command; `hcflow --help` lists them")


@pytest.mark.parametrize(
    "typed, told",
    [
        ("upscale a.png --temprature 0.5", "`hcflow upscale` has no option --temprature; did you "
         "mean --temperature?"),
        ("upscale a.png --sampels=2", "no option --sampels; did you mean --samples?"),
        ("data build a -o b --recursiv_", "`hcflow data build` has no option --recursiv_; did you "
         "mean --recursive?"),
        ("score a.png --zap", "no option --zap; see `hcflow score --help`"),
        ("upscale a.png --suffix -small", "argument --suffix: expected one argument (one that "
         "begins with a - is given as --suffix=-…); see `hcflow upscale --help`"),
        ("train --confg=sr_x4", "`hcflow train` has no flag --confg; did you mean --config?"),
        ("train --zap", "`hcflow train` has no flag --zap; see `hcflow train --help`"),
    ],
)  # fmt: skip
def test_the_option_that_was_meant_is_told(capsys, typed, told):
    assert _error(capsys, *typed.split()).endswith(told)


def test_a_file_called_like_an_option_is_told_how_to_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-x.png").touch()
    said = _error(capsys, "upscale", "-x.png")
    assert said.endswith("-x.png begins like an option; name the file ./-x.png")
    for rest in (["--", "-x.png"], ["./-x.png"]):
        assert _error(capsys, "upscale", *rest).startswith("-x.png is empty")
    (tmp_path / "-").touch()
    assert "standard input" in _error(capsys, "upscale", "-")


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "hcflow_jax", "--version"], capture_output=True)
    assert done.stdout.decode().strip() == f"hcflow {hcflow_jax.__version__}"


def test_short_forms():
    parse = _parser().parse_args
    found = parse(["upscale", "a.png", "-t", "0.5", "-s", "3", "-n", "2", "-o", "b.png"])
    assert (found.temperature, found.seed, found.samples, found.output) == (0.5, 3, 2, "b.png")
    found = parse(["evaluate", "a", "-t", "0,0.5", "-s", "3", "-n", "2", "-o", "b"])
    assert (found.temperatures, found.seed, found.samples) == ([0, 0.5], 3, 2)
    for command in ("restore", "score", "latents"):
        assert parse([command, "a.png", "-s", "3"]).seed == 3


@pytest.mark.parametrize("command", [[], ["upscale"], ["data", "build"], ["train"]])
def test_help_is_that_of_the_command(command, capsys):
    shown = []
    for argv in (["help", *command], [*command, "--help"]):
        try:
            assert cli.main(argv) == 0
        except SystemExit as end:
            assert not end.code
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] and shown[0].startswith("usage: hcflow")


def test_alone_it_shows_its_help(capsys):
    assert cli.main([]) == 0
    assert capsys.readouterr().out.startswith("usage: hcflow")
