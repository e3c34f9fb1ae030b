"""Compiled programs are kept in a folder that nobody else can write to, and mended there."""

import os
import subprocess
import sys

import pytest

from hcflow_jax.cli import programs


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """What programs are told by; the user's cache folder is `cache`."""
    os.chmod(tmp_path, 0o700)
    variables = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    monkeypatch.setattr(os, "environ", variables)
    return variables


def _folder():
    """The folder that a command would keep programs in, or None."""
    with programs.kept():
        return os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)


def test_the_folder_is_made_for_the_user_alone(environment, tmp_path, capsys):
    before = os.umask(0o002)
    try:
        assert _folder() == str(tmp_path / "cache/hcflow")
    finally:
        os.umask(before)
    assert (tmp_path / "cache/hcflow").stat().st_mode & 0o777 == 0o700
    os.chmod(tmp_path / "cache", 0o755)
    assert _folder() == str(tmp_path / "cache/hcflow")
    assert capsys.readouterr() == ("", "")


def test_a_folder_that_is_named_is_used_as_it_is(environment, tmp_path):
    environment["JAX_COMPILATION_CACHE_DIR"] = "mine"
    assert _folder() == "mine"
    assert "JAX_COMPILATION_CACHE_MAX_SIZE" not in environment
    assert not (tmp_path / "cache").exists()


def test_where_nothing_can_be_kept_the_command_goes_on(environment, tmp_path, capsys):
    (tmp_path / "cache").touch()
    assert _folder() is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("mode, above", [(0o777, 0o755), (0o770, 0o755), (0o700, 0o777)])
def test_a_folder_that_others_may_write_to_is_not_used(environment, tmp_path, capsys, mode, above):
    folder = tmp_path / "cache/hcflow"
    folder.mkdir(parents=True)
    os.chmod(folder, mode)
    os.chmod(folder.parent, above)
    assert _folder() is None
    error = capsys.readouterr().err
    place, remedy = (folder, "remove it") if above == 0o755 else (folder.parent, "chmod o-w /")
    line = f"hcflow: others may write to {place}, programs kept in {folder} are not used; {remedy}"
    assert error.startswith(line) and error.count("\n") == 1
    os.chmod(folder.parent, 0o1777)
    os.chmod(folder, 0o700)
    assert _folder() == str(folder)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners")
def test_a_folder_of_another_user_is_not_used(environment, monkeypatch, capsys):
    own = os.getuid()
    assert _folder()
    monkeypatch.setattr(os, "getuid", lambda: own + 1)
    assert _folder() is None
    assert capsys.readouterr().err.count("\n") == 1


DAMAGED = """
import os, sys
from pathlib import Path
from hcflow_jax.cli import programs

with programs.kept():
    import jax

    def compiled():
        jax.clear_caches()
        return jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((8, 8)))

    compiled()
    folder = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    entries = {path: path.read_bytes() for path in folder.glob("*-cache")}
    assert entries and folder.stat().st_mode & 0o777 == 0o700
    for path, data in entries.items():
        path.write_bytes(data[: len(data) // 2])
    assert compiled() == 512
    for path, data in entries.items():
        assert len(path.read_bytes()) > 0.9 * len(data), path
"""


def test_a_damaged_entry_is_replaced(tmp_path):
    """In a process of its own, since JAX asks for the folder once."""
    environment = {k: v for k, v in os.environ.items() if "COMPILATION_CACHE" not in k}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.chmod(tmp_path, 0o700)
    done = subprocess.run(
        [sys.executable, "-c", DAMAGED], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_half_an_entry_does_not_keep_others_from_being_written(environment, tmp_path):
    folder = tmp_path / "cache/hcflow"
    folder.mkdir(mode=0o700, parents=True)
    for name in ("jit_f-1-cache", "jit_f-1-atime", "jit_f-2-cache"):
        (folder / name).touch()
    assert _folder()
    assert sorted(os.listdir(folder)) == ["jit_f-1-atime", "jit_f-1-cache"]
