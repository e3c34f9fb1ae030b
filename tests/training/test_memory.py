"""Memory: the command starts itself again, once, with what the user gave; compiler options."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from hcflow_jax.training import memory

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has these settings")


@pytest.fixture
def started(monkeypatch):
    """What was executed."""
    calls = []
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    for name in (*memory.ENVIRONMENT, memory.SWITCH, *memory._LAUNCHERS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    return calls


@linux
def test_the_same_command_starts_again_in_its_environment(started, monkeypatch, capsys):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "hcflow_jax", "train", "--help"])
    memory.restart_with_settings(["train"])
    ((program, arguments, environment),) = started
    assert program == sys.executable
    assert not capsys.readouterr().out and not memory.described()
    assert arguments == [sys.executable, "-m", "hcflow_jax", "train", "--help"]
    assert environment == os.environ | memory.ENVIRONMENT
    assert "glibc.malloc.hugetlb=1" in environment["GLIBC_TUNABLES"]


@linux
@pytest.mark.parametrize("name", memory.ENVIRONMENT)
def test_it_leaves_the_users_settings(started, monkeypatch, name):
    monkeypatch.setenv(name, "mine")
    memory.restart_with_settings(["train"])
    assert not started and os.environ[name] == "mine"


@linux
@pytest.mark.parametrize(
    "name, value",
    [(memory.SWITCH, "system"), ("SLURM_PROCID", "0"), ("JAX_PLATFORMS", "cuda,cpu")],
)
def test_it_leaves_others_what_is_theirs(started, monkeypatch, capsys, name, value):
    monkeypatch.setenv(name, value)
    memory.restart_with_settings(["train"])
    assert not started and not capsys.readouterr().out


@linux
def test_it_leaves_debuggers_and_several_processes(started, monkeypatch):
    memory.restart_with_settings(["train", "--coordinator=host:1"])
    monkeypatch.setattr(sys, "gettrace", lambda: print)
    memory.restart_with_settings(["train"])
    assert not started


@linux
def test_plugins_of_other_platforms_keep_it_from_that(started, monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(memory.importlib.util, "find_spec", lambda name: name == "libtpu")
    memory.restart_with_settings(["train"])
    assert not started


@linux
def test_it_does_so_once_and_children_get_nothing_of_it(started, monkeypatch):
    for name, value in memory.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    memory.restart_with_settings(["train"])
    assert not started and not set(memory.ENVIRONMENT) & set(os.environ)
    assert "HCFLOW_ALLOCATOR=system" in memory.described()
    memory.restart_with_settings(["train"])
    assert not memory.described()


@linux
def test_nothing_is_told_of_that_before_an_error(tmp_path):
    command = [sys.executable, "-m", "hcflow_jax", "train", "--config=sr_x4"]
    clean = {k: v for k, v in os.environ.items() if k not in memory.ENVIRONMENT}
    done = subprocess.run(command, env=clean, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "hcflow: --workdir=… is missing; see `hcflow train --help`\n"


def test_compiled_programs_outlast_giving_back():
    double = jax.jit(lambda x: 2 * x)
    compiled = double.lower(1.0).compile()
    assert double(3.0) == 6 and double._cache_size() == 1
    memory.release()
    assert double._cache_size() == 0
    assert compiled(3.0) == double(3.0) == 6


def test_programs_are_compiled_apart_from_their_traces():
    double = jax.jit(lambda x: 2 * x)
    assert double(3.0) == 6 and double._cache_size() == 1
    assert memory.compiled(double.lower(1.0))(3.0) == 6
    assert double._cache_size() == 0


def test_programs_of_others_stay():
    double = jax.jit(lambda x: 2 * x)
    assert double(3.0) == 6 and double._cache_size() == 1
    lowered = jax.jit(lambda x: 3 * x).lower(1.0)
    assert memory.compiled(lowered, alone=False)(3.0) == 9
    assert double._cache_size() == 1


def test_a_system_that_refuses_does_not_matter(monkeypatch):
    def refuse(*_):
        raise PermissionError("not here")

    monkeypatch.setattr(os, "execve", refuse)
    for name in memory.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    memory.restart_with_settings(["train"])
    memory.release()


def test_compilers_of_cpus_get_the_options_they_know():
    """As flags, XLA knows the same ones: those of the tests are what it was asked for."""
    known = "--xla_cpu_use_fusion_emitters=false" in os.environ["XLA_FLAGS"].split()
    options = {"xla_cpu_use_fusion_emitters": False} if known else {}
    assert memory.compiler_options("cpu") == options


def test_what_is_compiled_quickly_is_the_same_function():
    lowered = jax.jit(lambda key: jax.random.normal(key, (5,))).lower(jax.random.key(3))
    found, expected = (
        run(jax.random.key(3)) for run in (memory.quickly_compiled(lowered), lowered.compile())
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_compilers_of_other_machines_get_no_options_of_cpus(monkeypatch):
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda *_, **__: None)  # knows them all
    assert memory.compiler_options("cpu")
    assert memory.compiler_options("gpu") == memory.compiler_options("tpu") == {}


def test_compilers_without_an_option_do_not_get_it(monkeypatch):
    compile_ = jax.stages.Lowered.compile

    def refuse(self, compiler_options=None):
        if compiler_options:
            compiler_options = {"xla_unheard_of": True}
        return compile_(self, compiler_options)

    monkeypatch.setattr(jax.stages.Lowered, "compile", refuse)
    assert memory.compiler_options("cpu") == {}
    assert memory.compiled(jax.jit(lambda x: 2 * x).lower(1.0))(3.0) == 6
