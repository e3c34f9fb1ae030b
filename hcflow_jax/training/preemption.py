"""Stopping a training by a signal."""

import contextlib
import os
import signal
import threading

import jax
from jax.experimental import multihost_utils


class Stopped(Exception):  # noqa: N818
    """A stop was asked for in the midst of something."""


class Preemption:
    """Whether SIGTERM or Ctrl-C asked the training to stop; processes agree on the step."""

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self.requested = False

    def _request(self, number, frame):
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)
        elif self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            name = signal.Signals(number).name
            again = "; Ctrl-C again to stop without saving" if number == signal.SIGINT else ""
            os.write(2, f"{name}: saving and stopping{again}\n".encode())
        self.requested = True

    @contextlib.contextmanager
    def watched(self):
        """A context that handles the signals; of several processes, JAX handles SIGTERM."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = self._SIGNALS if jax.process_count() == 1 else (signal.SIGINT,)
        before = {number: signal.signal(number, self._request) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def asked(self) -> bool:
        """Whether to stop at once; False of several processes, which stop after a step alone."""
        return self.requested and jax.process_count() == 1

    def check(self) -> None:
        """Raises Stopped where a stop `asked` for is due at once."""
        if self.asked():
            raise Stopped

    def due(self, step: int) -> bool:
        """Whether to stop after `step`."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self.requested
