"""What an evaluation has computed, kept as files, so that the same command continues it.

FOLDER/PICTURE/METHOD.json holds {"key": hash of all that decides the figures, "figures": …,
"pictures": {kind: hash of the file}}; beside it are pictures: METHOD.png, the
first sample, METHOD.spread.png and METHOD.small.png.
"""

import contextlib
import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

from hcflow_jax import images
from hcflow_jax.errors import UserError

SPREAD_GAIN = 8
"""What a standard deviation is multiplied by in METHOD.spread.png, of 8 bits."""


class Kept:
    """Figures and pictures by (name of a picture's file, name of a method)."""

    def __init__(self, folder: Path):
        self._folder = folder

    def path(self, picture: str, method: str, kind: str = "") -> Path:
        """The picture METHOD.png, or of another kind: "spread" or "small"."""
        return self._folder / picture / f"{method}{kind and f'.{kind}'}.png"

    def figures(self, picture: str, method: str, key: str) -> dict[str, float] | None:
        """The figures, where they were kept under that key with all their pictures."""
        try:
            found = json.loads(self._json(picture, method).read_text(encoding="utf-8"))
            whole = found["key"] == key and all(
                _digest(self.path(picture, method, kind)) == digest
                for kind, digest in found["pictures"].items()
            )
            return {k: float(v) for k, v in found["figures"].items()} if whole else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def put(
        self,
        picture: str,
        method: str,
        key: str,
        figures: dict[str, float],
        pictures: dict[str, np.ndarray],
    ) -> None:
        """Keeps figures and uint8 pictures, by kind; in place of those under another key.

        UserError where they cannot be written.
        """
        file = self._json(picture, method)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                file.unlink()  # first: its key must not vouch for pictures of another
        except OSError as error:
            raise UserError(
                f"cannot write to {file.parent} ({error.strerror}); free space or name another -o"
            ) from error
        for kind, pixels in pictures.items():
            image = Image.fromarray(pixels)
            images.write_beside(
                self.path(picture, method, kind), lambda f, image=image: image.save(f, "PNG")
            )
        digests = {kind: _digest(self.path(picture, method, kind)) for kind in pictures}
        entry = {"key": key, "figures": figures, "pictures": digests}
        data = json.dumps(entry, indent=1).encode()
        images.write_beside(file, lambda f: f.write(data))

    def _json(self, picture, method):
        return self._folder / picture / f"{method}.json"


def _digest(path):
    """The SHA-256 of a file, in hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
