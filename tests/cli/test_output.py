"""Printing that cannot end the work: consoles without the characters, full and closed ones."""

import io
import os
import subprocess
import sys

import pytest

from hcflow_jax import __version__, cli
from hcflow_jax.cli import output

COMMAND = [sys.executable, "-m", "hcflow_jax"]


def _printing(monkeypatch, stream):
    monkeypatch.setattr(sys, "stdout", stream)
    with output.steady():
        for text in ("1×2 \udce9.png", "more"):
            print(text, flush=True)
    assert sys.stdout is stream


@pytest.mark.parametrize(
    "encoding, shown",
    [
        ("ascii", rb"1\xd72 \udce9.png"),
        ("latin-1", b"1\xd72 \\udce9.png"),
        ("utf-8", "1×2 \\udce9.png".encode()),
    ],
)
def test_characters_that_a_console_lacks_are_escaped(monkeypatch, encoding, shown):
    written = io.BytesIO()
    _printing(monkeypatch, io.TextIOWrapper(written, encoding, newline="\n"))
    assert written.getvalue() == shown + b"\nmore\n"


def test_printing_to_a_closed_stream_or_to_none_is_nothing(monkeypatch):
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        _printing(monkeypatch, stream)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_told_once_and_ends_nothing():
    code = (
        "import sys; from hcflow_jax.cli import output\n"
        "with output.steady():\n"
        "    for i in range(9000): print('a line', i)\n"
        "    print('done', file=sys.stderr)"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "hcflow: nothing more is printed (No space left on device)",
        "done",
    ]


def test_help_in_ascii():
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*COMMAND, "upscale", "--help"], capture_output=True, env=environment)
    assert done.returncode == 0 and b"OUT_2, \\u2026" in done.stdout


def test_the_bare_command_prints_its_help_and_the_version_is_told(capsys):
    assert cli.main([]) == 0
    assert capsys.readouterr().out.startswith("usage: hcflow")
    with pytest.raises(SystemExit) as left:
        cli.main(["--version"])
    assert not left.value.code and capsys.readouterr().out == f"hcflow {__version__}\n"
