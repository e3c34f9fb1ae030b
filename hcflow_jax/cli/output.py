"""What a command prints: never the end of its work."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def steady() -> Iterator[None]:
    """A context in which printing does not fail.

    Characters that the console cannot encode are printed as Python escapes. When stdout or stderr
    can take no more (closed by `| head`, a full disk), what follows is dropped; of a full disk,
    one line on stderr says so.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and _Steady(stream) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


class _Steady:
    """A text stream whose `write` and `flush` do not raise."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        encoding = self._stream.encoding or "utf-8"
        safe = text.encode(encoding, "backslashreplace").decode(encoding)
        with self._dropping():
            self._stream.write(safe)
        return len(text)

    def flush(self):
        with self._dropping():
            self._stream.flush()

    @contextlib.contextmanager
    def _dropping(self):
        try:
            yield
        except ValueError:  # the stream is closed
            pass
        except OSError as error:
            self._discard()
            if error.errno != errno.EPIPE and sys.stderr is not self:
                reason = error.strerror or error
                print(f"hcflow: nothing more is printed ({reason})", file=sys.stderr)

    def _discard(self):
        """Sends the stream, what it still buffers included, nowhere."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._stream.flush()
