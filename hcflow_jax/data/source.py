"""Training pairs by index: the contract, and what every kind of source shares.

Nothing here imports JAX or TensorFlow, and every source can be pickled: worker processes read.
"""

import abc
import functools
import hashlib
import json
import threading
from collections.abc import Callable

import numpy as np

from hcflow_jax import images
from hcflow_jax.data import contents, work
from hcflow_jax.data.messages import too_small
from hcflow_jax.errors import UserError
from hcflow_jax.images.resize import imresize

CACHE_BYTES = 2**30
"""Default size of a source's cache of decoded images, in each process."""

SCALES = (2, 4, 8, 16)
"""Powers of two: the crop of an LR picture equals the LR of a crop, to the last bit."""

_MARGIN = 2  # LR pixels that the widened cubic kernel reaches to either side


class Source(abc.ABC):
    """Random access to aligned uint8 pairs; LR sides are HR sides / scale.

    A source without LR images downscales HR as MATLAB does. Images are decoded when first used
    and cached until `cache_bytes` are full; nothing is evicted, which in shuffled epochs is at
    least as good as evicting the oldest. ImageError naming an image that is damaged.
    """

    def __init__(self, scale: int, cache_bytes: int = CACHE_BYTES):
        if scale not in SCALES:
            raise UserError(f"scale must be one of {', '.join(map(str, SCALES))}, got {scale}")
        self.scale = scale
        self._cache = _Cache(cache_bytes)

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """The name of image `index` in messages."""

    @abc.abstractmethod
    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of LR image `index`, from its header."""

    @abc.abstractmethod
    def check_patch(self, size: int) -> None:
        """ImageError naming images known to have a side of less than `size` LR pixels."""

    @abc.abstractmethod
    def _load(self, index: int) -> dict[str, np.ndarray]:
        """{"hr": uint8 [H, W, 3]}, sides multiples of the scale, and "lr" if the source has it."""

    @abc.abstractmethod
    def _parts(self) -> list[contents.Part]:
        """The files of the data, and the pairs in each."""

    @abc.abstractmethod
    def _identity(self, digests: list[str]) -> list:
        """What identifies the data, as JSON values; `digests` are those of the parts' files."""

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits of kind, scale, split, names and whole contents; not of the path.

        ImageError when a file cannot be read.
        """
        return self._fingerprint(contents.examine(self._parts(), None, contents.Known()))

    def _fingerprint(self, digests):
        text = json.dumps([type(self).__name__, self.scale, *self._identity(digests)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def examine(
        self,
        known: contents.Known,
        decode: bool = True,
        patch: int = 0,
        poll: Callable[[], None] = work.nothing,
    ) -> None:
        """Computes `fingerprint`, and decodes every image (`decode`), of files not in `known`.

        Args:
          patch: the least side of an image, in LR pixels.
          poll: called again and again; what it raises ends the work.

        Raises:
          ImageError: naming the images that are damaged or too small.
        """
        check = functools.partial(self._check, patch) if decode else None
        digests = contents.examine(self._parts(), check, known, poll)
        self.__dict__["fingerprint"] = self._fingerprint(digests)

    def _check(self, patch, index):
        height, width = (side // self.scale for side in self._load(index)["hr"].shape[:2])
        if min(height, width) < patch:
            raise images.ImageError(too_small(self.name(index), (height, width), patch, self.scale))

    def pair(self, index: int) -> dict[str, np.ndarray]:
        """{"hr": uint8 [H, W, 3], "lr": uint8 [H/s, W/s, 3]}."""
        pair = self._cached(index)
        return {"hr": pair["hr"], "lr": pair["lr"] if "lr" in pair else self._downscale(pair["hr"])}

    def patch(self, index: int, top: int, left: int, size: int) -> dict[str, np.ndarray]:
        """{"hr", "lr"}: lr[top : top + size, left : left + size] of pair `index`, and its HR patch.

        Equal to the crop of `pair`, but only the neighbourhood of the patch is downscaled.
        ImageError when the patch exceeds the image.
        """
        pair, s = self._cached(index), self.scale
        height, width = (side // s for side in pair["hr"].shape[:2])
        if not (0 <= top <= height - size and 0 <= left <= width - size):
            raise images.ImageError(too_small(self.name(index), (height, width), size, s))
        hr = pair["hr"][s * top : s * (top + size), s * left : s * (left + size)]
        if "lr" in pair:
            return {"hr": hr, "lr": pair["lr"][top : top + size, left : left + size]}
        first = [max(start - _MARGIN, 0) for start in (top, left)]
        bottom, right = (start + size + _MARGIN for start in (top, left))
        neighbourhood = pair["hr"][s * first[0] : s * bottom, s * first[1] : s * right]
        top, left = top - first[0], left - first[1]
        return {
            "hr": hr,
            "lr": self._downscale(neighbourhood)[top : top + size, left : left + size],
        }

    def _downscale(self, hr):
        return imresize(hr, 1 / self.scale)

    def _cached(self, index):
        index = int(index)
        if not 0 <= index < len(self):
            raise IndexError(f"{self!r} has no picture {index}")
        return self._cache.get(index, self._load)


class _Cache:
    """Read-only arrays by index, up to `limit` bytes; pickles as an empty cache."""

    def __init__(self, limit):
        self._limit, self._used, self._kept = limit, 0, {}
        self._lock = threading.Lock()

    def get(self, index, load):
        found = self._kept.get(index)
        if found is not None:
            return found
        found = load(index)
        size = sum(array.nbytes for array in found.values())
        for array in found.values():
            array.flags.writeable = False
        with self._lock:
            if index not in self._kept and self._used + size <= self._limit:
                self._kept[index] = found
                self._used += size
        return found

    def __reduce__(self):
        return _Cache, (self._limit,)


def crop(array: np.ndarray, scale: int) -> np.ndarray:
    """[H, W, C] without the last rows and columns that do not divide by `scale`."""
    return np.ascontiguousarray(array[images.crop(array.shape[:2], scale)])
