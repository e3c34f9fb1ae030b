"""One job at a time, the others in a queue: progress, cancelling, and what came of them."""

import dataclasses
import sys
import threading
import time
import traceback
from collections.abc import Callable

from hcflow_jax.app.sessions import Session, line
from hcflow_jax.errors import UserError

MOST_WAITING = 100
"""Jobs in the queue, of all pages together."""

KEPT = 200
"""Finished jobs of a page whose outcome is told again to one that connects anew."""


A_BUG = "a bug in hcflow, told of in its terminal; please report it"
"""What a page is told of one."""


class CancelledError(Exception):
    """Raised inside a job that is not wanted any more."""


@dataclasses.dataclass(eq=False)
class Job:
    """Something that a page asked for.

    Attributes:
      work: job -> its result, JSON values. It calls `report`, which may raise CancelledError.
      state: "waiting", "running", "done", "failed" or "cancelled".
      done, total: tiles, or whatever `work` counts; known: those that it came to so far.
      result, error: what came of it.
      seconds: that it took, without waiting.
    """

    number: int
    session: Session
    work: Callable[["Job"], dict]
    state: str = "waiting"
    done: int = 0
    known: int = 0
    total: int = 0
    result: dict | None = None
    error: str | None = None
    seconds: float | None = None
    stopped: threading.Event = dataclasses.field(default_factory=threading.Event)

    def check(self) -> None:
        """CancelledError where nobody waits for the job any more."""
        if self.stopped.is_set() or self.session.closed.is_set():
            raise CancelledError

    def report(self, count: int) -> None:
        """As `progress` of `sampling`: tiles, or steps, known of, or, negative, done."""
        self.check()
        self.known, self.done = self.known + max(count, 0), self.done + max(-count, 0)
        self.total = max(self.total, self.known, self.done)


class Queue:
    """Jobs in the order in which they came, worked on by one thread.

    Args:
      after: called after each job, when nothing holds its arrays any more.
    """

    def __init__(self, after: Callable[[], object] = lambda: None):
        self._after = after
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._jobs: dict[Session, list[Job]] = {}
        self._running: Job | None = None
        self._stopping = False
        self._number = 0
        self._thread = threading.Thread(target=self._work, name="hcflow jobs", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def add(self, session: Session, work: Callable[[Job], dict]) -> Job:
        """A job at the end of the queue; UserError where that is full."""
        with self._changed:
            self._drop_abandoned()
            if len(self._waiting) >= MOST_WAITING:
                raise UserError(f"{MOST_WAITING} jobs are waiting already; try again later")
            self._number += 1
            job = Job(self._number, session, work)
            self._waiting.append(job)
            kept = self._jobs.setdefault(session, [])
            kept.append(job)
            del kept[:-KEPT]
            self._changed.notify_all()
        return job

    def cancel(self, session: Session, number: str) -> None:
        """Ends the job of that page, if it has it: while it waits at once, else with its next step.

        Args:
          number: its decimal digits.
        """
        with self._changed:
            for job in self._jobs.get(session, []):
                if str(job.number) == number:
                    job.stopped.set()
            self._drop_abandoned()

    def told(self, session: Session) -> list[dict]:
        """The jobs of a page as JSON values, oldest first."""
        with self._changed:
            self._drop_abandoned()
            ahead = [*filter(None, [self._running]), *self._waiting]
            return [self._one(job, ahead) for job in self._jobs.get(session, [])]

    def stop(self) -> None:
        """Ends all jobs, and the thread with the next tile of the running one."""
        with self._changed:
            self._stopping = True
            for job in [*self._waiting, *filter(None, [self._running])]:
                job.stopped.set()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=1)

    @property
    def has_waiting(self) -> bool:
        """Whether a job waits."""
        with self._changed:
            return bool(self._waiting)

    @property
    def is_busy(self) -> bool:
        """Whether a job still runs, though all were stopped: in a compiler, for example."""
        return self._thread.is_alive()

    @staticmethod
    def _one(job, ahead):
        fields = ("number", "state", "done", "total", "result", "error", "seconds")
        found = {name: getattr(job, name) for name in fields}
        if job.state == "waiting":
            found |= {"ahead": ahead.index(job), "queue": len(ahead)}
        return found

    def _drop_abandoned(self):
        """Takes waiting jobs that nobody waits for out of the queue."""
        for job in [*self._waiting]:
            if job.stopped.is_set() or job.session.closed.is_set():
                job.state = "cancelled"
                self._waiting.remove(job)
        for session in [s for s in self._jobs if s.closed.is_set()]:
            del self._jobs[session]

    def _next(self):
        """The next job, when there is one; None where there will be none."""
        with self._changed:
            while True:
                self._drop_abandoned()
                if self._stopping:
                    return None
                if self._waiting:
                    self._running = self._waiting.pop(0)
                    self._running.state = "running"
                    return self._running
                self._changed.wait()

    def _work(self):
        while (job := self._next()) is not None:
            held = job.session.hold()
            try:
                self._do(job)
            finally:
                if held:
                    job.session.release()
            with self._changed:
                self._running = None
            del job
            self._after()

    def _do(self, job):
        started = time.monotonic()
        try:
            job.check()  # of a page that is closed nothing is held
            job.result = job.work(job)
            job.check()
            state = "done"
        except CancelledError:
            state = "cancelled"
        except Exception as error:
            state, job.error = "failed", line(error, job.session.folder)
            if job.error is None:
                job.error = A_BUG
                traceback.print_exc(file=sys.stderr)
        job.work = _finished
        job.seconds = time.monotonic() - started
        job.state = state  # last: who reads it reads the others then


def _finished(job):
    raise AssertionError("a job is done once")
