"""`hcflow app`: where it listens, what it says, and how it ends."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from hcflow_jax import cli
from hcflow_jax.app import serving
from hcflow_jax.errors import UserError
from tests.app.serving import Page, ask, running


@pytest.fixture
def started(monkeypatch):
    """What was served, instead of serving it: [(address that is bound, Settings)]."""
    found = []

    class Server:
        def __init__(self, app):
            self._settings = app._settings
            app.sessions.close_all()

        def run_at(self, bound):
            found.append((bound.getsockname(), self._settings))

    monkeypatch.setattr(serving, "Server", Server)
    return found


def start(*argv):
    return cli.main(["app", "--no-browser", *argv])


def test_it_listens_to_this_machine_alone(started, capsys):
    assert start() == 0
    ((host, port), settings) = started[0]
    assert host == "127.0.0.1" and port >= 7860 and settings.token is None
    out, err = capsys.readouterr()
    assert out.startswith(f"http://127.0.0.1:{port}/ ") and not err


def test_beyond_this_machine_it_prints_a_token_and_a_warning(started, capsys):
    assert start("--host", "0.0.0.0") == 0
    ((host, port), settings) = started[0]
    out, err = capsys.readouterr()
    address = urlsplit(out.split()[0])
    assert parse_qs(address.query)["token"] == [settings.token] and len(settings.token) >= 32
    assert (host, address.port) == ("0.0.0.0", port)
    assert address.hostname not in (None, "0.0.0.0")  # which browsers do not open
    assert "not encrypted" in err and err.count("\n") == 1


def test_a_machine_that_reaches_no_other_has_a_name(monkeypatch):
    with serving.bound("0.0.0.0", None) as found:
        monkeypatch.setattr(socket, "gethostname", lambda: "machine")
        monkeypatch.setattr(serving, "_own_address", lambda family: None)
        assert serving.hosts(found, "0.0.0.0") == ("machine",)


@pytest.mark.parametrize("host", ["127.0.0.2", "localhost", "::1", "::ffff:127.0.0.1"])
def test_the_host_that_was_asked_for_is_printed(started, capsys, host):
    if not is_bindable(host):
        pytest.skip("this system has no such address")
    assert start("--host", host) == 0
    ((_, settings),) = started
    address = urlsplit(capsys.readouterr().out.split()[0])
    assert address.hostname == host and settings.token is None and not address.query


@pytest.mark.parametrize("host", ["127.0.0.2", "localhost", "::1", "::ffff:127.0.0.1"])
def test_the_address_that_is_printed_is_answered(host):
    if not is_bindable(host):
        pytest.skip("this system has no such address")
    with serving.bound(host, None) as found:
        hosts = serving.hosts(found, host)
    name = f"[{host}]" if ":" in host else host
    with running(hosts=hosts) as (_, port):
        assert ask(port, "GET", "/", Host=f"{name}:{port}")[0] == 200


def is_bindable(host):
    try:
        serving.bound(host, None).close()
    except UserError:
        return False
    return True


def test_the_next_free_port_is_taken(started, monkeypatch):
    with serving.bound("127.0.0.1", None) as taken:
        monkeypatch.setattr(serving, "FIRST_PORT", taken.getsockname()[1])
        assert start() == 0
        assert started[0][0][1] > taken.getsockname()[1]
        monkeypatch.setattr(serving, "PORTS", 1)
        assert start() == 2


def test_what_cannot_be_started_is_one_line(started, capsys, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for argv, words in (
            (["--port", str(taken.getsockname()[1])], "name another --port"),
            (["--host", "nowhere.invalid"], "is no address of this machine"),
            (["--host", "192.0.2.1"], "is no address of this machine"),
            (["--root", str(tmp_path / "no")], "is no folder"),
            (["--max-upload", "much"], "'much' is no size of a file"),
            (["--checkpoint", str(tmp_path)], str(tmp_path)),
        ):
            assert start(*argv) == 2
            out, err = capsys.readouterr()
            assert words in err and err.count("\n") == 1 and not out
    assert not started


def test_two_checkpoints_of_one_task_are_refused(started, capsys, weights):
    assert start("--checkpoint", weights["sr"], "--checkpoint", weights["sr"]) == 2
    assert "both for sr" in capsys.readouterr().err


def test_without_its_packages_one_line_names_them(monkeypatch, capsys):
    for name in ("uvicorn", "hcflow_jax.app.serving"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "hcflow_jax.app.serving")
    monkeypatch.delattr("hcflow_jax.app.serving", raising=False)
    assert start() == 2
    assert "pip install 'hcflow_jax[app]'" in capsys.readouterr().err


def test_the_first_page_does_not_wait_for_jax():
    code = (
        "import sys; from hcflow_jax.app import serving; print({'jax', 'flax'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("sent, rc", [("SIGINT", 130), ("SIGHUP", -signal.SIGTERM)])
def test_ctrl_c_and_a_closed_terminal_end_it_at_once_and_leave_nothing(tmp_path, sent, rc):
    code = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL);"
        "runpy.run_module('hcflow_jax', {}, '__main__')"
    )  # whoever runs the tests may ignore those signals
    process = subprocess.Popen(
        [sys.executable, "-c", code, "app", "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    port = urlsplit(process.stdout.readline().split()[0]).port
    page = Page(port)
    assert os.listdir(tmp_path)
    for _ in range(2):  # as impatient people press it
        process.send_signal(getattr(signal, sent))
        time.sleep(0.05)
    _, err = process.communicate()
    assert (process.returncode, err) == (rc, "hcflow: interrupted\n" if rc == 130 else "")
    assert not os.listdir(tmp_path)
    page.close()
    with pytest.raises(OSError):
        http.client.HTTPConnection("127.0.0.1", port).request("GET", "/")
