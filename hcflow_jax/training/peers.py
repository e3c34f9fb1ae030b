"""Ending all processes of a training when one of them has ended.

A process that waits for another in a sum over devices waits for ever. So each tells the others
every INTERVAL_S that it is there, through JAX's coordination service, and ends itself when one is
silent. The end of process 0, whose service that is, is noticed by JAX itself, within seconds.
"""

import atexit
import contextlib
import os
import sys
import threading
import time

import jax

from hcflow_jax.errors import UserError

INTERVAL_S, SILENCE_S = 2.0, 25.0
"""From one sign of life to the next; for how long none may come."""

_FOLDER, _ENDED, _FAILED = "hcflow/alive", "ended", "failed"


@contextlib.contextmanager
def watched():
    """A context in which this process ends, with one line, when another of the training does.

    One that is left by an exception tells the others, and does not wait for them at its exit.
    """
    client = _client()
    if client is None:
        yield
        return
    watch = _Watch(client)
    threading.Thread(target=watch.run, daemon=True).start()
    try:
        yield
    except BaseException as error:
        if _may_be_of_another(error):  # the watch knows better, before long
            time.sleep(SILENCE_S + 2 * INTERVAL_S)
        watch.stop(_FAILED)
        _let_others_go()
        atexit.register(_leave, 2 if isinstance(error, UserError) else 1)
        raise
    watch.stop(_ENDED)


def _client():
    """JAX's client of the coordination service; None where there is one process."""
    if jax.process_count() == 1:
        return None
    from jax._src import distributed  # JAX has no public name for it

    return distributed.global_state.client


def _may_be_of_another(error):
    """Whether a sum over devices has failed, as it does where a process of them has ended."""
    while error is not None:
        if isinstance(error, jax.errors.JaxRuntimeError):
            return "RESOURCE_EXHAUSTED" not in str(error)
        error = error.__cause__ or error.__context__
    return False


def _let_others_go():
    """In process 0, waits until the others have noticed: JAX would end them with a long trace."""
    if jax.process_index() == 0:
        time.sleep(2 * INTERVAL_S)


def _leave(code):
    """Ends the process without JAX's shutdown, which waits for processes that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class _Watch:
    def __init__(self, client):
        self._client, self._own = client, str(jax.process_index())
        self._seen: dict[str, tuple[str, float]] = {}
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def run(self):
        count = 0
        while not self._stopped.wait(INTERVAL_S):
            count += 1
            try:
                self._tell(str(count))
                found = self._client.key_value_dir_get(_FOLDER)
            except Exception:  # the service has ended, which JAX tells
                return
            self._look({key.rpartition("/")[2]: value for key, value in found}, time.monotonic())

    def _tell(self, value):
        with self._lock:
            if not self._stopped.is_set() or value in (_ENDED, _FAILED):
                self._client.key_value_set(f"{_FOLDER}/{self._own}", value, allow_overwrite=True)

    def stop(self, value):
        self._stopped.set()
        with contextlib.suppress(Exception):
            self._tell(value)

    def _look(self, values, now):
        """Ends the process where one of `values`, of all processes, is old, or says failed."""
        for process, value in values.items():
            if value != self._seen.get(process, (None, 0.0))[0]:
                self._seen[process] = value, now
            silent = now - self._seen[process][1]
            if value == _FAILED and process != self._own:
                self._end(f"process {process} failed, see what it said")
            elif value != _ENDED and process != self._own and silent > SILENCE_S:
                self._end(f"process {process} was not heard of for {silent:.0f} s")

    def _end(self, reason):
        if not self._stopped.is_set():
            line = f"hcflow: {reason}; start all again, they continue from the last checkpoint\n"
            os.write(2, line.encode())
            _let_others_go()
            os._exit(3)
