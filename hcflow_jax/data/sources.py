"""Training pairs by number: a folder of photographs, a built set, an installed TFDS data set.

Nothing here imports JAX or TensorFlow, and every source can be pickled: worker processes read.
"""

import abc
import contextlib
import functools
import hashlib
import io
import json
import os
import re
import threading
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from hcflow_jax import images
from hcflow_jax.images.resize import imresize

CACHE_BYTES = 2**30
"""Decoded pictures that a source keeps, in each process."""

SCALES = (2, 4, 8, 16)
"""Powers of two: the crop of an LR picture equals the LR of a crop, to the last bit."""

METADATA = "hcflow_pairs"
"""Key of a built set's metadata: {"scale", "lr", "smallest": [name, height, width], …}."""

_MARGIN = 2  # LR pixels: the widened cubic kernel reaches 2 to either side


class Source(abc.ABC):
    """Random access to aligned uint8 pairs; LR sides are HR sides / scale.

    Without LR pictures of its own a source downscales HR as MATLAB does. Pictures are decoded
    when asked for, and kept until `cache_bytes` are full: in shuffled epochs, keeping the first
    is at least as good as keeping the latest. ImageError naming a picture that is damaged.
    """

    def __init__(self, scale: int, cache_bytes: int = CACHE_BYTES):
        if scale not in SCALES:
            raise ValueError(f"scale must be one of {', '.join(map(str, SCALES))}, got {scale}")
        self.scale = scale
        self._cache = _Cache(cache_bytes)

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """What to call picture `index` in a message."""

    @abc.abstractmethod
    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of LR picture `index`, from its header."""

    @abc.abstractmethod
    def check_patch(self, size: int) -> None:
        """ImageError naming pictures known to be smaller than `size` LR pixels on a side."""

    @abc.abstractmethod
    def _load(self, index: int) -> dict[str, np.ndarray]:
        """{"hr": uint8 [H, W, 3]} with sides that divide, and "lr" if there is one."""

    @abc.abstractmethod
    def _identity(self) -> list:
        """What the data are, for JSON."""

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits of kind, scale, split, names, sizes and contents; not of the place."""
        text = json.dumps([type(self).__name__, self.scale, *self._identity()])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def pair(self, index: int) -> dict[str, np.ndarray]:
        """{"hr": uint8 [H, W, 3], "lr": uint8 [H/s, W/s, 3]}."""
        pair = self._cached(index)
        return {"hr": pair["hr"], "lr": pair["lr"] if "lr" in pair else self._shrink(pair["hr"])}

    def patch(self, index: int, top: int, left: int, size: int) -> dict[str, np.ndarray]:
        """lr[top : top + size, left : left + size] of pair `index`, and the HR that belongs to it.

        Equal to the crop of `pair`, but only the surroundings of the patch are downscaled.
        ImageError when it does not fit.
        """
        pair, s = self._cached(index), self.scale
        height, width = (side // s for side in pair["hr"].shape[:2])
        if not (0 <= top <= height - size and 0 <= left <= width - size):
            raise images.ImageError(_too_small(self.name(index), (height, width), size, s))
        hr = pair["hr"][s * top : s * (top + size), s * left : s * (left + size)]
        if "lr" in pair:
            return {"hr": hr, "lr": pair["lr"][top : top + size, left : left + size]}
        first = [max(start - _MARGIN, 0) for start in (top, left)]
        bottom, right = (start + size + _MARGIN for start in (top, left))
        around = pair["hr"][s * first[0] : s * bottom, s * first[1] : s * right]
        top, left = top - first[0], left - first[1]
        return {"hr": hr, "lr": self._shrink(around)[top : top + size, left : left + size]}

    def _shrink(self, hr):
        return imresize(hr, 1 / self.scale)

    def _cached(self, index):
        index = int(index)
        if not 0 <= index < len(self):
            raise IndexError(f"{self!r} has no picture {index}")
        return self._cache.get(index, self._load)


class _Cache:
    """Arrays by number, until they are `limit` bytes; pickles as an empty one."""

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


def _too_small(name, lr_size, size, scale):
    height, width = (scale * side for side in lr_size)
    return (
        f"{name} is {width}×{height}, smaller than patch_size {scale * size}; remove it "
        "or set --config.data.patch_size lower"
    )


def listed(problems: Sequence[str], most: int) -> str:
    """The first `most` of the problems in one line, and how many more there are."""
    more = f"; and {len(problems) - most} more" if len(problems) > most else ""
    return "; ".join(problems[:most]) + more


def crop(array: np.ndarray, scale: int) -> np.ndarray:
    """[H, W, C] without the last rows and columns that do not divide by `scale`."""
    height, width = (side - side % scale for side in array.shape[:2])
    return np.ascontiguousarray(array[:height, :width])


def read_uint8(path: str | Path) -> np.ndarray:
    """`images.read(path).rgb` as uint8 [H, W, 3]; without the way through floats where it can."""
    with contextlib.suppress(Exception), Image.open(path) as image:
        if image.mode in ("RGB", "L") and image.width * image.height <= Image.MAX_IMAGE_PIXELS:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    return np.rint(255 * images.read(path).rgb).astype(np.uint8)


def _trace(path):
    """(bytes of a file, hash of the last 4096): enough to tell photographs apart, and quick."""
    with open(path, "rb") as file:
        size = os.path.getsize(path)
        file.seek(max(size - 4096, 0))
        return size, hashlib.sha256(file.read()).hexdigest()[:16]


def header_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of an image file, upright, without decoding it; ImageError as `read`."""
    path = Path(path)
    try:
        with Image.open(path) as image:
            if image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError
            # PNG's own getexif decodes the whole picture first; TIFF sizes are upright already
            orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
            turned = orientation in (5, 6, 7, 8) and image.format != "TIFF"
            return (image.width, image.height) if turned else (image.height, image.width)
    except UnidentifiedImageError as error:
        raise images.ImageError(
            f"{path} is empty or no image in a known format; convert it to PNG"
        ) from error
    except PermissionError as error:
        raise images.ImageError(f"{path} may not be read; change its permissions") from error
    except Image.DecompressionBombError as error:
        raise images.ImageError(f"{path} has too many pixels; crop it") from error
    except Exception as error:  # broken files make Pillow raise anything
        raise images.ImageError(f"{path} is damaged ({error}); export it again") from error


def header_sizes(paths: Sequence[Path]) -> list[tuple[int, int] | images.ImageError]:
    """`header_size` of each file, or why there is none."""

    def attempt(path):
        try:
            return header_size(path)
        except images.ImageError as error:
            return error

    with futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(attempt, paths))


class FolderSource(Source):
    """The images directly in a folder; ImageError naming every one that cannot be used."""

    def __init__(self, path: str | Path, scale: int, cache_bytes: int = CACHE_BYTES):
        super().__init__(scale, cache_bytes)
        files = images.list_images(path)
        sizes = header_sizes(files)
        bad = [str(size) for size in sizes if isinstance(size, Exception)]
        bad += [
            f"{file} is {size[1]}×{size[0]}, smaller than the scale {scale}; remove it"
            for file, size in zip(files, sizes, strict=True)
            if not isinstance(size, Exception) and min(size) < scale
        ]
        if bad:
            raise images.ImageError(listed(bad, 5))
        self._folder = os.path.abspath(files[0].parent)
        self._names = [file.name for file in files]
        self._sizes = [(height // scale, width // scale) for height, width in sizes]

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"FolderSource({self._folder}, {len(self)} images, ×{self.scale})"

    def name(self, index: int) -> str:
        return os.path.join(self._folder, self._names[index])

    def size(self, index: int) -> tuple[int, int]:
        return self._sizes[index]

    def check_patch(self, size: int) -> None:
        bad = [
            _too_small(self.name(i), lr_size, size, self.scale)
            for i, lr_size in enumerate(self._sizes)
            if min(lr_size) < size
        ]
        if bad:
            raise images.ImageError(listed(bad, 5))

    def _identity(self):
        return [[name, *_trace(self.name(i))] for i, name in enumerate(self._names)]

    def _load(self, index):
        hr = crop(read_uint8(self.name(index)), self.scale)
        expected = tuple(self.scale * side for side in self._sizes[index])
        if hr.shape[:2] != expected:
            raise images.ImageError(
                f"{self.name(index)} is {hr.shape[1]}×{hr.shape[0]} but its header says "
                f"{expected[1]}×{expected[0]}; export it again"
            )
        return {"hr": hr}


class _PreparedSource(Source):
    """A split of the prepared TFDS data set in `directory`; pictures are the features `keys`."""

    def __init__(self, directory, split, scale, keys, cache_bytes):
        super().__init__(scale, cache_bytes)
        self._directory, self._split = os.path.abspath(directory), split
        self._keys, self._opened, self._lock = keys, None, threading.Lock()
        self._sizes = {}
        self._info_name, self._parts, self._length = _split_facts(self._directory, split)
        try:
            for name in _files(self._directory, split):
                os.stat(name)
        except Exception as error:
            raise self._damaged(f"{self._info_name} {split}", error) from error

    def __getstate__(self):
        return self.__dict__ | {"_opened": None, "_lock": None, "_sizes": {}}

    def __setstate__(self, state):
        self.__dict__ |= state
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        what = f"{self._info_name}, {self._split}, {len(self)} images, ×{self.scale}"
        return f"{type(self).__name__}({what})"

    def name(self, index: int) -> str:
        return f"picture {index} of {self._info_name} {self._split}"

    def size(self, index: int) -> tuple[int, int]:
        if index not in self._sizes:
            with self._open(index, self._record(index)[self._keys[0]]) as image:
                self._sizes[index] = image.height // self.scale, image.width // self.scale
        return self._sizes[index]

    def _identity(self):
        return [self._info_name, self._split, self._parts]

    @property
    def _records(self):
        with self._lock:
            if self._opened is None:
                self._opened = _records(self._directory, self._split)
            return self._opened

    def _record(self, index):
        try:
            return self._records[index]
        except Exception as error:
            raise self._damaged(_PreparedSource.name(self, index), error) from error

    def _open(self, index, data):
        try:
            return Image.open(io.BytesIO(data))
        except Exception as error:
            raise self._damaged(self.name(index), error) from error

    def _decode(self, index, data):
        with self._open(index, data) as image:
            try:
                return np.array(image.convert("RGB"))
            except Exception as error:
                raise self._damaged(self.name(index), error) from error

    def _damaged(self, name, error):
        reason = " ".join(str(error).split())[:200]
        return images.ImageError(
            f"{self._directory}: {name} is damaged ({reason}); prepare the data set again"
        )


class TfdsSource(_PreparedSource):
    """The images of a TFDS data set, downscaled here."""

    def __init__(self, directory, split: str, scale: int, cache_bytes: int = CACHE_BYTES):
        key, self._shape = _image_feature(_info(directory))
        super().__init__(directory, split, scale, (key,), cache_bytes)

    def check_patch(self, size: int) -> None:
        height, width = (size if side is None else side // self.scale for side in self._shape[:2])
        if min(height, width) < size:
            name = f"every picture of {self._info_name}"
            raise images.ImageError(_too_small(name, (height, width), size, self.scale))

    def _load(self, index):
        hr = self._decode(index, self._record(index)[self._keys[0]])
        if min(hr.shape[:2]) < self.scale:
            raise images.ImageError(f"{self.name(index)} is smaller than the scale {self.scale}")
        return {"hr": crop(hr, self.scale)}


class BuiltSource(_PreparedSource):
    """Pairs made by `hcflow data build`; ValueError when they were made for another scale."""

    def __init__(self, directory, split: str, scale: int, cache_bytes: int = CACHE_BYTES):
        self._facts = _metadata(directory)[METADATA]
        if self._facts["scale"] != scale:
            raise ValueError(
                f"{directory} holds pairs of scale {self._facts['scale']}, the model has {scale}; "
                f"build it again with --scale {scale}"
            )
        super().__init__(directory, split, scale, ("hr", "lr"), cache_bytes)

    def name(self, index: int) -> str:
        return self._record(index)["name"].decode()

    def check_patch(self, size: int) -> None:
        name, *lr_size = self._facts["smallest"]
        if min(lr_size) < size:
            raise images.ImageError(_too_small(name, lr_size, size, self.scale))

    def _identity(self):
        return [*super()._identity(), self._facts]

    def _load(self, index):
        record = self._record(index)
        return {key: self._decode(index, record[key]) for key in self._keys}


def _tfds():
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ValueError(
            f"this data set needs {error.name}; pip install 'hcflow_jax[train]'"
        ) from error
    return tfds


@contextlib.contextmanager
def _blaming(directory):
    """Whatever goes wrong inside is a ValueError that names the data set."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{directory} is damaged ({reason}); prepare the data set again"
        ) from error


def _info(directory):
    tfds = _tfds()
    with _blaming(directory):
        return tfds.builder_from_directory(directory).info


def _metadata(directory):
    info = _info(directory)
    with _blaming(directory):
        return info.metadata or {}


def _records(directory, split):
    tfds = _tfds()
    builder, skip = tfds.builder_from_directory(directory), tfds.decode.SkipDecoding
    decoders = {key: skip() for key in _image_keys(builder.info)}
    return builder.as_data_source(split, decoders=decoders)


def _files(directory, split):
    return [part.filename for part in _info(directory).splits[split].file_instructions]


def _split_facts(directory, split):
    """(name, [[split, bytes, examples per shard …], …], pictures in `split`)."""
    info = _info(directory)
    if not _random_access(info):
        raise ValueError(_unprepared(info.name, "in array_record form", directory))
    parts = [[name, part.num_bytes, *part.shard_lengths] for name, part in info.splits.items()]
    try:
        length = info.splits[split].num_examples
    except Exception as error:
        raise ValueError(
            f"{info.full_name} has no split {split!r} but {', '.join(info.splits)}, and parts "
            "such as train[:90%]; set --config.data.split"
        ) from error
    if not length:
        raise ValueError(f"{info.full_name}: split {split!r} is empty; set --config.data.split")
    return info.full_name, parts, length


def _image_keys(info):
    image = _tfds().features.Image
    return [key for key, feature in info.features.items() if isinstance(feature, image)]


def _image_feature(info):
    """(key, shape) of the feature to train on: hr, image, or the only one."""
    keys = _image_keys(info)
    chosen = [key for key in ("hr", "image") if key in keys] or (keys if len(keys) == 1 else [])
    if not chosen:
        have = ", ".join(f"{key}: {type(f).__name__}" for key, f in sorted(info.features.items()))
        raise ValueError(
            f"{info.full_name} has no image called hr or image, nor a single one, but {have}; "
            "name another data set by --config.data.tfds"
        )
    feature = info.features[chosen[0]]
    if feature.np_dtype != np.uint8:
        raise ValueError(
            f"{info.full_name}: {chosen[0]} has {np.dtype(feature.np_dtype)} pixels, not uint8; "
            "name another data set by --config.data.tfds"
        )
    return chosen[0], feature.shape


def _installed(name):
    """The folder of the TFDS data set `name`, prepared as array_record."""
    tfds = _tfds()
    try:
        builder = tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
    except Exception as error:
        line = next((line.strip() for line in str(error).split("\n") if line.strip()), repr(error))
        reason = line.split('}": ')[-1]
        raise ValueError(
            f"TFDS has no data set {name!r} ({reason}); set --config.data.tfds"
        ) from error
    if not os.path.isfile(os.path.join(builder.data_dir, "dataset_info.json")):
        raise ValueError(_unprepared(name, "prepared", builder.data_dir))
    if not _random_access(builder.info):
        raise ValueError(_unprepared(name, "in array_record form", builder.data_dir))
    return builder.data_dir


def _random_access(info):
    return any(kind.value == "array_record" for kind in info.available_file_formats())


def _unprepared(name, state, place):
    return (
        f"TFDS data set {name} is not {state} in {place}; prepare it: "
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder({name!r}, file_format='array_record').download_and_prepare()\""
    )


def _prepared_in(path):
    """`path`, or its newest version subfolder, if a TFDS data set is there; else None."""
    versions = [child for child in path.glob("[0-9]*.[0-9]*.[0-9]*") if child.is_dir()]
    versions.sort(key=lambda child: [int(part) for part in re.findall(r"\d+", child.name)])
    for folder in (path, *reversed(versions)):
        if (folder / "dataset_info.json").is_file():
            return folder
    return None


def open_source(
    path: str, tfds: str, split: str, scale: int, cache_bytes: int = CACHE_BYTES
) -> Source:
    """The training pairs of a folder of images, a prepared set's folder, or a TFDS data set.

    Args:
      path: a folder of images, or what `hcflow data build` made; or empty.
      tfds: name of a TFDS data set, "name", "name/config" or "name/config:version"; or empty.
      split: "train", or for TFDS data sets also parts such as "train[:50%]".
      scale: HR sides / LR sides.
      cache_bytes: how much to keep decoded, per process.

    Raises:
      ValueError: one line, when not exactly one of path and tfds is given, it is not there, not
        prepared, has no such split, or another scale. ImageError names files that are no images.
    """
    if bool(path) == bool(tfds):
        raise ValueError(
            "training data: give one of --config.data.path=DIR and --config.data.tfds=NAME, "
            f"{'not both' if path else 'both are empty'}"
        )
    if tfds:
        return TfdsSource(_installed(tfds), split, scale, cache_bytes)
    folder = _prepared_in(Path(path))
    if folder is None:
        if split != "train":
            raise ValueError(
                f"{path} is a folder of images, which has no split {split!r}; "
                "set --config.data.split=train"
            )
        return FolderSource(path, scale, cache_bytes)
    built = METADATA in _metadata(folder)
    return (BuiltSource if built else TfdsSource)(folder, split, scale, cache_bytes)
