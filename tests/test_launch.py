"""The scripts that start a training on clusters, with stand-ins for the clusters' commands."""

import os
import random
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import log, photographs

LAUNCH = Path(__file__).parents[1] / "examples/launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))

SRUN = """#!/bin/bash
# One node with two tasks, as SLURM starts them.
[ "$1" = --kill-on-bad-exit=1 ] && shift
export SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2 SLURM_STEP_NUM_NODES=1
for i in 0 1; do
    SLURM_PROCID=$i SLURM_LOCALID=$i "$@" > "task$i.log" 2>&1 &
    tasks="$tasks $!"
done
for task in $tasks; do wait "$task" || code=$?; done
exit "${code:-0}"
"""
RECORDER = """#!/bin/bash
printf '%s\\n' "$0 $(printf ' %q' "$@")" >> commands
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with a folder of stand-ins first on the PATH."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("bin")
    for name, text in (("srun", SRUN), ("gcloud", RECORDER), ("xpk", RECORDER)):
        path = Path("bin", name)
        path.write_text(text)
        path.chmod(0o755)
    own = f"{tmp_path}/bin{os.pathsep}{Path(sys.executable).parent}"
    monkeypatch.setenv("PATH", f"{own}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def _free_job():
    """A SLURM job whose port, which JAX takes from its number, is free."""
    while True:
        job = random.randrange(4096)
        with socket.socket() as listening:
            try:
                listening.bind(("localhost", 61440 + job))
            except OSError:
                continue
            return str(job)


def _recorded(script, *arguments):
    """[[command, its arguments …]] that a script ran."""
    subprocess.run([LAUNCH / script, *arguments], check=True)
    lines = Path("commands").read_text().splitlines()
    return [[Path(words[0]).name, *words[1:]] for words in map(shlex.split, lines)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_shell_linter_finds_nothing(script):
    shellcheck = Path(sys.executable).with_name("shellcheck")
    found = subprocess.run([shellcheck, script], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_without_arguments_they_say_how_they_are_used(place, script):
    found = subprocess.run([script], capture_output=True, text=True)
    assert found.returncode == 2 and "CONFIG WORKDIR DATA [--config.…]" in found.stderr


@pytest.mark.slow
def test_slurm_starts_processes_that_find_each_other(place):
    photographs("my photos")
    flags = ["--config.model.steps=(2,)", "--config.model.conditional_steps=(1,)"]
    flags += ["--config.train.tensorboard=False", "--config.train.steps=2"]
    done = subprocess.run(
        [LAUNCH / "slurm.sh", "sr_x4:smoke", "run", "my photos", *flags],
        env=os.environ | {"SLURM_JOB_ID": _free_job()},
        timeout=200,
    )
    said = [Path(f"task{i}.log").read_text() for i in (0, 1)]
    assert done.returncode == 0, said
    assert "of 2 processes" in said[0] and "done" in said[0] and "training" not in said[1]
    assert [line["step"] for line in log("run")][-1] == 2


def test_every_host_of_a_tpu_slice_is_sent_the_project_and_the_command(place):
    data = "gs://bucket/my photos"
    rest = ["sr_x4", "gs://bucket/run", data, "--config.model.steps=(2, 2)"]
    copy, run = _recorded("tpu_vm.sh", "slice", "zone", *rest)
    assert copy[:6] == ["gcloud", "compute", "tpus", "tpu-vm", "scp", "--recurse"]
    assert Path(copy[6], "setup.cfg").is_file() and copy[7] == "slice:hcflow_jax"
    assert run[4:8] == ["ssh", "slice", "--zone=zone", "--worker=all"]
    *_, train = run[8].removeprefix("--command=").split(" && ")
    assert shlex.split(train)[2:] == [
        "hcflow_jax",
        "train",
        "--distributed",
        "--config=sr_x4",
        "--workdir=gs://bucket/run",
        f"--config.data.path={data}",
        "--config.model.steps=(2, 2)",
    ]


def test_a_workload_of_a_cluster_gets_the_command(place):
    rest = ["sr_x4", "gs://bucket/run", "gs://bucket/photos", "--config.model.steps=(2, 2)"]
    ((name, *words),) = _recorded("gke.sh", "mine", "image:1", "v5litepod-16", *rest)
    assert name == "xpk" and words[:3] == ["workload", "create", "--cluster=mine"]
    options = dict(word[2:].split("=", 1) for word in words[2:])
    assert options["docker-image"] == "image:1" and options["tpu-type"] == "v5litepod-16"
    command = shlex.split(options["command"])
    assert command[:3] == ["hcflow", "train", "--distributed"]
    assert command[-1] == "--config.model.steps=(2, 2)"
