"""Decoding and hashing all files of a data set, once: what is known of unchanged files is kept."""

import dataclasses
import functools
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hcflow_jax import images, paths
from hcflow_jax.data import work
from hcflow_jax.data.messages import listed
from hcflow_jax.images import write_beside

SETTLED_S = 2.0
"""Age from which on a file is remembered: within a tick of a coarse clock it could change again."""

_SHOWN_AFTER_S = 1.0
_CHUNK_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class Part:
    """A file of a data set, and the numbers of the pairs in it.

    `where`: which part of the file that is, where it is not the whole.
    """

    file: str
    indices: range
    where: str = ""

    @property
    def key(self) -> str:
        """Its name among the known files."""
        return f"{self.file} {self.where}" if self.where else self.file


class Known:
    """What was found in files, as {key of a part: [stamp, whether decoded, digest]}.

    The stamp is the file's size, time of modification and time of change. The last, which the
    system alone sets, tells a file that was replaced and given its old time (cp -p, rsync -t).

    Args:
      path: the JSON file that keeps it; None keeps nothing. A damaged one counts as empty.
    """

    def __init__(self, path: Path | None = None):
        self._path, self._entries, self._kept = path, {}, {}
        if path is None:
            return
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError):
            return
        if isinstance(found, dict):
            self._entries, self._kept = dict(found), found

    def digest(self, part: Part, stamp: list, decoded: bool) -> str | None:
        """The digest of an unchanged file, decoded if that is asked for; else None."""
        match self._entries.get(part.key):
            case [then, bool(done), str(digest)] if then == stamp and done >= decoded:
                return digest
        return None

    def add(self, part: Part, stamp: list, decoded: bool, digest: str) -> None:
        """Remembers a file that was read, unless it has only just changed."""
        times = [t / 1e9 for t in stamp[1:] if isinstance(t, int)]
        if times and time.time() - max(times) > SETTLED_S:
            self._entries[part.key] = [stamp, decoded, digest]

    def forget_others(self, parts: Sequence[Part]) -> None:
        """Keeps what is known of `parts` alone."""
        keys = {part.key for part in parts}
        self._entries = {key: entry for key, entry in self._entries.items() if key in keys}

    def save(self) -> None:
        """Writes what has changed."""
        if self._path is None or self._entries == self._kept:
            return
        data = json.dumps(self._entries).encode()
        if paths.is_remote(self._path):
            self._path.write_bytes(data)
        else:
            write_beside(self._path, lambda file: file.write(data))
        self._kept = dict(self._entries)


def stamp(path: Path) -> list:
    """[size in bytes, time of modification, time of change], times in ns; None where unknown."""
    if paths.is_remote(path):
        found = path.stat()
        seconds = getattr(found, "mtime", None)
        return [getattr(found, "length", None), None if not seconds else int(seconds * 1e9)]
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def digest(path: Path) -> str:
    """The BLAKE2b hash of a whole file, of 128 bits, in hex."""
    found = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()


def examine(
    parts: Sequence[Part],
    check: Callable[[int], None] | None,
    known: Known,
    poll: Callable[[], None] = work.nothing,
) -> list[str]:
    """The digest of every part's file, after `check` of every pair in it; by threads.

    What `known` holds is not read again. Shows progress where it takes long.

    Args:
      check: decodes the pair of a number, ImageError when it cannot be used; None checks nothing.
      poll: called again and again; what it raises ends the work, and what is done is remembered.

    Raises:
      ImageError: naming the pairs that cannot be used.
    """
    ended, digests, bad = threading.Event(), [], []
    total = sum(len(part.indices) for part in parts)
    what = "reading" if check is None else "checking"
    with work.progress(None, total, what, _SHOWN_AFTER_S) as bar:
        read = functools.partial(_read, check, known, bar.update, ended.is_set)
        try:
            for problems, found in work.in_order(read, parts, poll):
                bad += problems
                digests.append(found)
            known.forget_others(parts)
        except BaseException:
            ended.set()
            raise
        finally:
            known.save()
    if bad:
        raise images.ImageError(listed(bad))
    return digests


def _read(check, known, advance, ended, part):
    """(problems, digest) of a part; the digest is None where there are problems."""
    path, checked = paths.located(part.file), check is not None
    try:
        before = stamp(path)
        if (found := known.digest(part, before, checked)) is not None:
            advance(len(part.indices))
            return [], found
        problems = []
        for index in part.indices:
            if ended():
                return [], None
            problems += _problems(check, index) if checked else []
            advance()
        if problems:
            return problems, None
        found = digest(path)
        if stamp(path) == before:
            known.add(part, before, checked, found)
        return [], found
    except OSError as error:
        return [f"{part.file} cannot be read ({error.strerror or error}); make it readable"], None


def _problems(check, index):
    try:
        check(index)
    except images.ImageError as error:
        return [str(error)]
    return []
