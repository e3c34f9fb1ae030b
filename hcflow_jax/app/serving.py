"""A socket for the app, and the server that answers there."""

import asyncio
import contextlib
import errno
import ipaddress
import os
import signal
import socket
import sys
import threading
import webbrowser

import uvicorn

from hcflow_jax.app.server import App
from hcflow_jax.errors import UserError

FIRST_PORT, PORTS = 7860, 20
"""The port that is taken unless another is asked for, and how many from it on are tried."""

_GRACE = 1.0
"""Seconds that requests have to finish in when the app ends."""


_NO_HOST = "--host {} is no address of this machine; give 127.0.0.1, or 0.0.0.0 for all it has"


def bound(host: str, port: int | None) -> socket.socket:
    """A listening socket; UserError where the host is not this machine or no port is free.

    Args:
      port: None for the first free one of PORTS from FIRST_PORT on.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UserError(_NO_HOST.format(host)) from error
    wanted = [port] if port else range(FIRST_PORT, FIRST_PORT + PORTS)
    for number in wanted:
        found = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name == "posix":
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((address[0], number, *address[2:]))
            found.listen(128)
            return found
        except OSError as error:
            found.close()
            if error.errno == errno.EADDRNOTAVAIL:  # at no port
                raise UserError(_NO_HOST.format(host)) from error
            why = error.strerror or str(error)
    ports = f"port {port}" if port else f"a port from {wanted[0]} to {wanted[-1]}"
    raise UserError(f"cannot listen at {host} on {ports} ({why}); name another --port")


def is_loopback(found: socket.socket) -> bool:
    """Whether a bound socket can be reached from this machine alone."""
    address = _address(found)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def hosts(found: socket.socket, asked: str) -> tuple[str, ...]:
    """Names by which a bound socket is reached, that to print first.

    Args:
      asked: as `bound` was given it.
    """
    address = _address(found)
    if address.is_unspecified:  # it stands for all that this machine has; browsers open none
        return (_own_address(found.family) or socket.gethostname(),)
    return asked, str(address)


def _address(found):
    return ipaddress.ip_address(found.getsockname()[0].partition("%")[0])


def _own_address(family):
    """That from which this machine reaches others; None where it reaches none."""
    elsewhere = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"  # for documentation
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))  # sends nothing
            return probe.getsockname()[0]
    except OSError:
        return None


def open_browser(address: str) -> None:
    """Opens a page in the user's browser where there is a screen for one; else does nothing."""
    if os.name == "posix" and sys.platform != "darwin":
        if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            return  # what there may be are browsers of text, which take the terminal
    with contextlib.suppress(webbrowser.Error):
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


class Server(uvicorn.Server):
    """Answers at a bound socket until it is interrupted; `run_at` is that."""

    def __init__(self, app: App):
        self._app = app
        super().__init__(
            uvicorn.Config(
                app.asgi,
                loop="asyncio",  # whether uvloop is installed or not
                http="h11",
                log_level="error",
                access_log=False,
                server_header=False,
                ws="none",
                proxy_headers=False,
                timeout_graceful_shutdown=5,
            )
        )

    def run_at(self, found: socket.socket) -> None:
        """Answers there; KeyboardInterrupt in the end when it is interrupted.

        The end of the terminal ends it as SIGTERM does, unless that was to be ignored (`nohup`).
        """
        with self._hung_up():
            self.run(sockets=[found])

    @contextlib.contextmanager
    def _hung_up(self):
        hangup = getattr(signal, "SIGHUP", None)  # Windows has none
        is_main = threading.current_thread() is threading.main_thread()
        if hangup is None or not is_main or signal.getsignal(hangup) == signal.SIG_IGN:
            yield
            return
        before = signal.signal(hangup, lambda _, frame: self.handle_exit(signal.SIGTERM, frame))
        try:
            yield
        finally:
            signal.signal(hangup, before)

    async def shutdown(self, sockets=None) -> None:
        """As uvicorn has it, but who stalls in sending or receiving is cut off."""
        cutting = asyncio.create_task(self._cut_off())
        await super().shutdown(sockets)
        cutting.cancel()

    async def _cut_off(self):
        await asyncio.sleep(_GRACE)
        for connection in [*self.server_state.connections]:
            connection.transport.abort()

    def handle_exit(self, sig, frame) -> None:
        """Ends the streams of events before uvicorn waits for them.

        Later signals change nothing: it is over within seconds, and what it holds is removed first.
        """
        self._app.stop()
        if not self.should_exit:
            super().handle_exit(sig, frame)
