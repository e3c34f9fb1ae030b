"""Prepared data sets as training pairs: TFDS's own, or built by `hcflow data build`."""

import contextlib
import functools
import os
import re
import threading

import numpy as np

from hcflow_jax import images, paths
from hcflow_jax.data import features
from hcflow_jax.data.contents import Part
from hcflow_jax.data.messages import too_small
from hcflow_jax.data.source import CACHE_BYTES, Source, crop
from hcflow_jax.errors import UserError, counted, needing

METADATA = "hcflow_pairs"
"""Key of a built set's metadata: {"scale", "lr", "smallest": [name, height, width], …}."""


class _PreparedSource(Source):
    """A split of the prepared TFDS data set in `directory`; images are the features `keys`."""

    def __init__(self, directory, split, scale, keys, cache_bytes):
        super().__init__(scale, cache_bytes)
        self._directory, self._split = paths.normal(directory), split
        self._keys, self._opened, self._lock = keys, None, threading.Lock()
        self._sizes = {}
        self._info_name, self._lengths, self._length = _split_facts(self._directory, split)
        try:
            for file, _, _ in _files(self._directory, split):
                paths.located(file).stat()
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
        what = f"{self._info_name}, {self._split}, {counted(len(self), 'image')}, ×{self.scale}"
        return f"{type(self).__name__}({what})"

    def name(self, index: int) -> str:
        return f"picture {index} of {self._info_name} {self._split}"

    def size(self, index: int) -> tuple[int, int]:
        if index not in self._sizes:
            data = self._record(index)[self._keys[0]]
            height, width = self._read(images.header_size, index, data)
            self._sizes[index] = height // self.scale, width // self.scale
        return self._sizes[index]

    def _parts(self):
        parts, first = [], 0
        for file, skip, take in _files(self._directory, self._split):
            indices = range(first, first := first + take)
            parts.append(Part(os.fspath(file), indices, f"[{skip}:{skip + take}]"))
        return parts

    def _identity(self, digests):
        return [self._info_name, self._split, self._lengths, digests]

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

    def _decode(self, index, data):
        return self._read(images.read_uint8, index, data)

    def _read(self, reader, index, data):
        """reader(data) of the bytes of a picture."""
        try:
            return reader(data)
        except Exception as error:
            raise self._damaged(self.name(index), error.__cause__ or error) from error

    def _damaged(self, name, error):
        reason = " ".join(str(error).split())[:200]
        return images.ImageError(
            f"{self._directory}: {name} is damaged ({reason}); prepare the data set again"
        )


class TfdsSource(_PreparedSource):
    """The images of a TFDS data set, downscaled when they are loaded."""

    def __init__(self, directory, split: str, scale: int, cache_bytes: int = CACHE_BYTES):
        key, self._shape = _image_feature(_info(directory))
        super().__init__(directory, split, scale, (key,), cache_bytes)

    def check_patch(self, size: int) -> None:
        height, width = (size if side is None else side // self.scale for side in self._shape[:2])
        if min(height, width) < size:
            name = f"every picture of {self._info_name}"
            raise images.ImageError(too_small(name, (height, width), size, self.scale))

    def _load(self, index):
        hr = self._decode(index, self._record(index)[self._keys[0]])
        if min(hr.shape[:2]) < self.scale:
            raise images.ImageError(f"{self.name(index)} is smaller than the scale {self.scale}")
        return {"hr": crop(hr, self.scale)}


class BuiltSource(_PreparedSource):
    """Pairs made by `hcflow data build`; UserError when they were made for another scale."""

    def __init__(self, directory, split: str, scale: int, cache_bytes: int = CACHE_BYTES):
        self._facts = metadata(directory)[METADATA]
        if self._facts["scale"] != scale:
            raise UserError(
                f"{directory} holds pairs of scale {self._facts['scale']}, the model has {scale}; "
                f"build it again with --scale {scale}"
            )
        super().__init__(directory, split, scale, ("hr", "lr"), cache_bytes)

    def name(self, index: int) -> str:
        return self._record(index)["name"].decode()

    def check_patch(self, size: int) -> None:
        name, *lr_size = self._facts["smallest"]
        tile = self._facts.get("tile", 0)
        if tile and self.scale * size > tile:
            raise images.ImageError(
                f"{self._directory} holds tiles of {tile} pixels a side, smaller than patch_size "
                f"{self.scale * size}; build it again with a larger --tile, or 0, or set "
                "--config.data.patch_size lower"
            )
        if min(lr_size) < size:
            raise images.ImageError(too_small(name, lr_size, size, self.scale))

    @functools.cached_property
    def fingerprint(self) -> str:
        """As of any source; the pictures were hashed when the set was built."""
        return self._fingerprint([])

    def _identity(self, digests):
        return [self._info_name, self._split, self._lengths, self._facts]

    def _load(self, index):
        record = self._record(index)
        return {key: self._decode(index, record[key]) for key in self._keys}


def _tfds():
    with needing("train"):
        import tensorflow_datasets as tfds
    return tfds


@contextlib.contextmanager
def _naming(directory):
    """A context that turns every exception into a UserError naming the data set."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{directory} is damaged ({reason}); prepare the data set again") from error


def _info(directory):
    with _naming(directory):
        return _builder(directory).info


def _builder(directory):
    tfds = _tfds()
    features.check(directory)
    return tfds.builder_from_directory(directory)


def metadata(directory) -> dict:
    """The metadata of a prepared data set; UserError when it is damaged."""
    info = _info(directory)
    with _naming(directory):
        return info.metadata or {}


def _records(directory, split):
    builder, skip = _builder(directory), _tfds().decode.SkipDecoding
    decoders = {key: skip() for key in _image_keys(builder.info)}
    return builder.as_data_source(split, decoders=decoders)


def _files(directory, split):
    """(file, first picture, number of pictures) of every file that a split reads."""
    instructions = _info(directory).splits[split].file_instructions
    return [(part.filename, part.skip, part.take) for part in instructions]


def _split_facts(directory, split):
    """(name, [[split, bytes, examples per shard …], …], pictures in `split`)."""
    info = _info(directory)
    if not _random_access(info):
        raise UserError(_unprepared(info.name, "in array_record form", directory))
    parts = [[name, part.num_bytes, *part.shard_lengths] for name, part in info.splits.items()]
    try:
        length = info.splits[split].num_examples
    except Exception as error:
        raise UserError(
            f"{info.full_name} has no split {split!r} but {', '.join(info.splits)}, and parts "
            "such as train[:90%]; set --config.data.split"
        ) from error
    if not length:
        raise UserError(f"{info.full_name}: split {split!r} is empty; set --config.data.split")
    return info.full_name, parts, length


def _image_keys(info):
    image = _tfds().features.Image
    return [key for key, feature in info.features.items() if isinstance(feature, image)]


def _image_feature(info):
    """(key, shape) of the image feature to train on: hr, image, or the only one."""
    keys = _image_keys(info)
    chosen = [key for key in ("hr", "image") if key in keys] or (keys if len(keys) == 1 else [])
    if not chosen:
        have = ", ".join(f"{key}: {type(f).__name__}" for key, f in sorted(info.features.items()))
        raise UserError(
            f"{info.full_name} has neither an image called hr or image nor exactly one image, but "
            f"{have}; name another data set by --config.data.tfds"
        )
    feature = info.features[chosen[0]]
    if feature.np_dtype != np.uint8:
        raise UserError(
            f"{info.full_name}: {chosen[0]} has {np.dtype(feature.np_dtype)} pixels, not uint8; "
            "name another data set by --config.data.tfds"
        )
    return chosen[0], feature.shape


def installed(name: str) -> str:
    """The folder of the TFDS data set `name`, prepared as array_record."""
    tfds = _tfds()
    folder = os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR
    try:
        features.check_all(os.path.join(folder, re.split("[/:]", name)[0]))
        builder = tfds.builder(name, data_dir=folder)
    except UserError:
        raise
    except Exception as error:
        line = next((line.strip() for line in str(error).split("\n") if line.strip()), repr(error))
        reason = line.split('}": ')[-1]
        raise UserError(
            f"TFDS has no data set {name!r} ({reason}); set --config.data.tfds"
        ) from error
    if not paths.is_file(paths.located(builder.data_dir) / "dataset_info.json"):
        raise UserError(_unprepared(name, "prepared", builder.data_dir))
    if not _random_access(builder.info):
        raise UserError(_unprepared(name, "in array_record form", builder.data_dir))
    return builder.data_dir


def _random_access(info):
    return any(kind.value == "array_record" for kind in info.available_file_formats())


def _unprepared(name, state, folder):
    return (
        f"TFDS data set {name} is not {state} in {folder}; prepare it: "
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder({name!r}, file_format='array_record').download_and_prepare()\""
    )
