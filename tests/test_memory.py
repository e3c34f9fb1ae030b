"""Memory: the command starts itself again, once, with what the user gave; compiler options."""

import os
import sys

import jax
import pytest

from hcflow_jax import memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has these settings")


@pytest.fixture
def started(monkeypatch):
    """What was executed."""
    calls = []
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    return calls


def test_the_same_command_starts_again_with_huge_pages(started, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "hcflow_jax.cli", "train", "--help"])
    memory.use_huge_pages()
    ((program, arguments, environment),) = started
    assert program == sys.executable
    assert arguments == [sys.executable, "-m", "hcflow_jax.cli", "train", "--help"]
    assert environment == os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def test_it_does_so_once_and_leaves_the_users_settings(started, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=0")
    memory.use_huge_pages()
    assert not started


def test_a_system_that_refuses_does_not_matter(monkeypatch):
    def refuse(*_):
        raise PermissionError("not here")

    monkeypatch.setattr(os, "execve", refuse)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    memory.use_huge_pages()
    memory.give_back()


def test_compilers_of_other_machines_get_no_options_of_cpus():
    double = jax.jit(lambda x: 2 * x).lower(1.0)
    assert double.compile(compiler_options=memory.compiler_options("cpu"))(3.0) == 6
    assert memory.compiler_options("gpu") == memory.compiler_options("tpu") == {}
