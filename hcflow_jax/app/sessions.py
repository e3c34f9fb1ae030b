"""What open pages hold: files in a folder of their own, which goes when the page is closed."""

import dataclasses
import errno
import re
import secrets
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from hcflow_jax.errors import UserError, one_line

MOST = 32
"""Pages that may be open together."""

FILES, BYTES = 200, 2_000_000_000
"""Files that a page may have, and their bytes together; beyond, those not used for longest go."""

UNSEEN, LEFT, AWAY = 60.0, 10.0, 3600.0
"""Seconds without a connection after which a page counts as closed: one that never had any; one
that had, as reloading and a network's short interruptions take less; and one that is not looked at,
which gives its connection back, as browsers have few for all pages of a host."""


NO_ROOM = (
    "there is no room for temporary files; free space, take a smaller picture or fewer samples, or "
    "start the app with TMPDIR=DIR, a folder that has room"
)

_FULL = errno.ENOSPC, errno.EDQUOT


class GoneError(UserError):
    """A page, or a file of it, that is no longer there."""


def line(error: Exception, folder: Path) -> str | None:
    """The one line that a page is told of an error, or None where it is a bug.

    Args:
      folder: of temporary files, whose names mean nothing to who reads the line.
    """
    if isinstance(error, OSError) and error.errno in _FULL:
        return NO_ROOM
    found = one_line(error)
    return found and re.sub(rf"'?{re.escape(str(folder))}[^\s':,;]*'?", "the picture", found)


@dataclasses.dataclass(frozen=True)
class Stored:
    """A file of a session; `facts` are what is known of it beside its bytes."""

    path: Path
    facts: Any = None
    size: int = 0


class Session:
    """An open page: its files by random names, which nobody else can guess.

    Attributes:
      closed: set when the page is; what still works for it should stop.
      connections: how many streams of events are open to it.
    """

    def __init__(self, folder: Path):
        self.name = secrets.token_urlsafe(16)
        self.folder = folder / self.name
        self.folder.mkdir(mode=0o700)
        self.closed = threading.Event()
        self.connections = 0
        self._seen = time.monotonic() + UNSEEN - LEFT
        self._is_away = False
        self._files: dict[str, Stored] = {}  # what was used last is last
        self._lock, self._holders = threading.Lock(), 0

    def new_path(self, suffix: str) -> Path:
        """Where a file may be written that `keep` is then told of."""
        return self.folder / f"{secrets.token_urlsafe(12)}{suffix}"

    def keep(self, path: Path, facts: Any = None) -> str:
        """The name by which the page asks for a file from now on."""
        with self._lock:
            self._files[path.stem] = Stored(path, facts, path.stat().st_size)
            while len(self._files) > FILES or self._is_full():
                self._files.pop(self._oldest(path.stem)).path.unlink(missing_ok=True)
        return path.stem

    def _oldest(self, new: str) -> str:
        """The name of the result, or of the upload where there are more, not used for longest."""
        sent: dict[bool, list[str]] = {True: [], False: []}
        for name, stored in self._files.items():
            if name != new:
                sent[not stored.path.suffix].append(name)
        return sent[len(sent[True]) > len(sent[False])][0]

    def has(self, path: Path) -> bool:
        """Whether `keep` was told of a file."""
        return path.stem in self._files

    def _is_full(self):
        return len(self._files) > 1 and sum(f.size for f in self._files.values()) > BYTES

    def file(self, name: str) -> Stored:
        """What `keep` was given; GoneError where there is no such file."""
        with self._lock:
            found = self._files.pop(name, None) if isinstance(name, str) else None
            if found is None or not found.path.exists():
                raise GoneError("the file is no longer here; choose the picture again")
            self._files[name] = found
        return found

    def connect(self) -> None:
        """A stream of events begins."""
        self.connections += 1
        self._is_away = False

    def leave(self) -> None:
        """The page is not looked at, but open: it is kept for AWAY until it connects anew."""
        self._is_away = True

    def disconnect(self) -> None:
        """One ends."""
        self.connections -= 1
        self._seen = time.monotonic()

    @property
    def is_left(self) -> bool:
        """Whether it has been without a connection for longer than a page that is open."""
        most = AWAY if self._is_away else LEFT
        return self.connections <= 0 and time.monotonic() - self._seen > most

    def hold(self) -> bool:
        """Keeps the folder until `release`; False where the session is closed."""
        with self._lock:
            self._holders += not self.closed.is_set()
            return not self.closed.is_set()

    def release(self) -> None:
        """Ends `hold`."""
        with self._lock:
            self._holders -= 1
        self._remove()

    def close(self) -> None:
        """Ends it; its files go at once, or when who holds them releases them."""
        with self._lock:
            self.closed.set()
        self._remove()

    def _remove(self):
        if self.closed.is_set() and self._holders == 0:
            self._files.clear()
            shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """All open pages, in a temporary folder that goes with the process."""

    def __init__(self):
        self._temporary = tempfile.TemporaryDirectory(prefix="hcflow_app_")
        self.folder = Path(self._temporary.name)
        self._open: dict[str, Session] = {}

    def open(self) -> Session:
        """A new one; UserError where there are too many."""
        if len(self._open) >= MOST:
            raise UserError(f"{MOST} pages are open already; close one and reload this one")
        session = Session(self.folder)
        self._open[session.name] = session
        return session

    def find(self, name: str) -> Session:
        """The open one of that name; GoneError where there is none."""
        if name not in self._open:
            raise GoneError("this page was closed meanwhile; reload it")
        return self._open[name]

    def close(self, session: Session) -> None:
        """Ends one."""
        self._open.pop(session.name, None)
        session.close()

    def close_left(self) -> None:
        """Ends those whose pages are closed."""
        for session in [s for s in self._open.values() if s.is_left]:
            self.close(session)

    def close_all(self) -> None:
        """Ends all, and removes the folder."""
        for session in [*self._open.values()]:
            self.close(session)
        self._temporary.cleanup()
