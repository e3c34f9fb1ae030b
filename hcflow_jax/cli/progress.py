"""What stderr says of work while it goes on: tiles, time left, compiling, the time it took."""

import contextlib
import sys
import threading
import time

from hcflow_jax.cli import heaps
from hcflow_jax.errors import counted

LONG = 20.0
"""Seconds of work from which on the time left, and in the end the time it took, are told."""

COMPILING_AFTER = 2.0
"""Seconds of compiling after which a line says so: programs that were kept are read faster."""

_LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"  # what comes before compiling
_COMPILED = "/jax/core/compile/backend_compile_duration"


def say(line: str) -> None:
    """Prints a line on stderr, above a progress bar where there is one."""
    tqdm = sys.modules.get("tqdm")
    if tqdm is not None and sys.stderr.isatty():
        tqdm.tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """As people say it: 40 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class _Counted:
    """Counts tiles, or steps; a bar on terminals, else a line with the time that is left."""

    def __init__(self, total, unit):
        self._unit = unit
        self._total, self._known, self._done = total, 0, 0
        self._bar = self._first = None
        self._started, self._told = time.monotonic(), False

    def report(self, count):
        self._known, self._done = self._known + max(count, 0), self._done + max(-count, 0)
        total = max(self._total, self._known)
        if total < 2:
            return
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = self._bar or tqdm(unit=self._unit, leave=False)
            self._bar.total, self._bar.n = total, self._done
            self._bar.refresh()
        elif self._first is None and self._done:
            self._first = time.monotonic(), self._done
        elif not self._told and count < 0 and self._first is not None:
            self._tell_left(total)

    def _tell_left(self, total):
        """The time left, once some tiles have shown how long they take."""
        since, before = self._first
        took = time.monotonic() - since
        left = took / max(self._done - before, 1) * (total - self._done)
        if took > LONG / 4:
            self._told = True
            if left > LONG:
                say(f"about {duration(left)} left")

    def close(self, finished):
        if self._bar is not None:
            self._bar.close()
        took = time.monotonic() - self._started
        if finished and self._done > 1 and took > LONG:
            say(f"{counted(self._done, self._unit)} in {duration(took)}")


@contextlib.contextmanager
def shown(total: int = 0, unit: str = "tile"):
    """A context of work on tiles; yields report(count), which is `progress` of `tiling.run`.

    Terminals show a bar once there are two of `unit`. `total`: of all the work, where it is known.
    """
    work = _Counted(total, unit)
    with _compiling_told():
        try:
            yield work.report
        except BaseException:
            work.close(finished=False)
            raise
        work.close(finished=True)


@contextlib.contextmanager
def _compiling_told():
    """A context in which a line, once, says that a program is compiled, if that takes long."""
    from jax import monitoring

    timers, told = [], threading.Event()

    def tell():
        if not told.is_set():
            told.set()
            say("compiling, once for pictures of about this size")

    def listen(event, seconds, **_):
        if event in (_LOWERED, _COMPILED):
            while timers:
                timers.pop().cancel()
        if event == _COMPILED:
            heaps.release()  # before the program runs, which takes as much
        if event == _LOWERED and not told.is_set():
            timers.append(threading.Timer(COMPILING_AFTER, tell))
            timers[-1].daemon = True
            timers[-1].start()

    monitoring.register_event_duration_secs_listener(listen)
    try:
        yield
    finally:
        monitoring.unregister_event_duration_listener(listen)
        while timers:
            timers.pop().cancel()
