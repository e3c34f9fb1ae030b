"""Whether a training was asked to stop."""

import contextlib
import os
import signal
import threading

import jax
from jax.experimental import multihost_utils


class Preemption:
    """Whether the training was asked to stop, by SIGTERM or Ctrl-C; all processes agree on when."""

    _NUMBERS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self.asked = False

    def _ask(self, number, frame):
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)
        elif self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            name = signal.Signals(number).name
            again = "; Ctrl-C again to stop without saving" if number == signal.SIGINT else ""
            os.write(2, f"{name}: saving and stopping after this step{again}\n".encode())
        self.asked = True

    @contextlib.contextmanager
    def watched(self):
        """Inside, signals ask; where processes are several, jax's own service hears SIGTERM."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = self._NUMBERS if jax.process_count() == 1 else (signal.SIGINT,)
        before = {number: signal.signal(number, self._ask) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def due(self, step: int) -> bool:
        """Whether to stop after `step`."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self.asked
