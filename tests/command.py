"""A training of seconds: photographs, a one-level network, and the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
from PIL import Image

from hcflow_jax import cli
from hcflow_jax.training import recipes
from hcflow_jax.training.config import parse

CONFIGS = Path(__file__).parent.parent / "configs"
ONE_LEVEL = (
    "--config.model.steps=(2,)",
    "--config.model.conditional_steps=(1,)",
    "--config.train.tensorboard=False",
)


def config(name, variant):
    """What `--config=NAME:VARIANT` is, free to be changed."""
    return recipes.load(f"{name}:{variant}").unlock()


def recipe(found):
    """A config as `train` parses it, of data that are not there."""
    found.data.path = "photos"
    return parse(found)


def photographs(folder, count=3, seed=0, side=40):
    """Writes PNGs of noise."""
    os.makedirs(folder)
    rng = np.random.default_rng(seed)
    for i in range(count):
        array = rng.integers(0, 256, (side, side + 8, 3), dtype=np.uint8)
        Image.fromarray(array).save(f"{folder}/{i}.png")


def arguments(workdir, *flags, config="sr_x4.py:smoke", data="photos"):
    data = [f"--config.data.path={data}"] if data else []
    return ["train", f"--config={CONFIGS}/{config}", f"--workdir={workdir}", *data, *flags]


def train(workdir, *flags, **named):
    """The command's exit code."""
    return cli.main(arguments(workdir, *ONE_LEVEL, *flags, **named))


def start(workdir, *flags, environment=None, **named):
    """The same as a process of its own, its output in a pipe."""
    command = [sys.executable, "-m", "hcflow_jax", *arguments(workdir, *ONE_LEVEL, *flags)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | (environment or {}),
        **named,
    )


TIMES = ("time", "steps_per_second", "pixels_per_second", "data_wait")


def log(workdir):
    """The lines of log.jsonl without what depends on the clock."""
    with open(f"{workdir}/log.jsonl") as file:
        lines = [json.loads(line) for line in file]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def saved(workdir, step):
    """Every array of a checkpoint: {item: tree}."""
    folder = Path(workdir).absolute() / "checkpoints" / str(step)
    with ocp.StandardCheckpointer() as checkpointer:
        names = [name for name in ("params", "training", "ema") if (folder / name).is_dir()]
        return {name: checkpointer.restore(folder / name) for name in names}
