"""Programs that give the same bits at every run."""

import os
import subprocess
import sys

import jax
import pytest

from hcflow_jax import cli
from hcflow_jax.errors import UserError
from hcflow_jax.training import determinism, loop
from tests.command import arguments, config

WHAT_TRAINING_FINDS = """
import os, sys
import jax
from jax._src import xla_bridge
from hcflow_jax import cli
from hcflow_jax.training import determinism, loop

def ask(ask=determinism.ask):
    assert not xla_bridge.backends_are_initialized()
    ask()

def train(config, workdir, alone):
    jax.devices()  # dies of flags that it does not know
    print("flags", os.environ["XLA_FLAGS"])

determinism.ask = ask
loop.train = train
sys.exit(cli.main(sys.argv[1:]))
"""


def test_the_flag_is_there_before_jax_starts_and_is_known(tmp_path):
    words = arguments(tmp_path / "w", "--config.train.deterministic=True")
    done = subprocess.run(
        [sys.executable, "-c", WHAT_TRAINING_FINDS, *words],
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    expected = "flags --xla_force_host_platform_device_count=1 --xla_gpu_deterministic_ops=true"
    assert expected in done.stdout


@pytest.mark.parametrize("asked", [True, False])
def test_the_flag_is_set_once_and_where_it_is_asked_for(tmp_path, monkeypatch, asked):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    monkeypatch.setattr(loop, "train", lambda config, workdir, alone: None)
    for _ in range(2):
        words = arguments(tmp_path / "w", f"--config.train.deterministic={asked}")
        assert cli.main(words) == 0
    assert os.environ["XLA_FLAGS"].split().count(determinism.FLAG) == asked


def test_on_gpus_it_is_too_late_once_jax_has_started(tmp_path, monkeypatch):
    found = config("sr_x4", "smoke")
    found.data.path, found.train.deterministic = str(tmp_path), True
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(UserError, match=f"XLA_FLAGS={determinism.FLAG} .* before JAX starts"):
        loop.train(found, tmp_path / "w")
    assert not (tmp_path / "w").exists()
    monkeypatch.setenv("XLA_FLAGS", determinism.FLAG)
    determinism.check()
