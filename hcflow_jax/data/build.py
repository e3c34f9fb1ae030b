"""Building a sharded TFDS data set of training pairs from folders of images."""

import contextlib
import functools
import glob
import hashlib
import io
import itertools
import math
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from hcflow_jax import images, paths
from hcflow_jax.data import tiles, work
from hcflow_jax.data.messages import listed
from hcflow_jax.data.pairing import Pair, find_pairs
from hcflow_jax.data.prepared import METADATA
from hcflow_jax.data.source import SCALES, crop
from hcflow_jax.errors import UserError
from hcflow_jax.images import metrics, read_uint8
from hcflow_jax.images.resize import imresize
from hcflow_jax.locks import locked

SHARD_BYTES = 2**28
"""Approximate size of a shard, on disk, and in memory while it is written."""

_PNG_BYTES_PER_PIXEL = 2  # of photographs
_FAINT = 0.1  # difference of channels that the LR image of a picture may well lack
_LOCK = ".lock"  # in the folder of an unfinished build


class _Info(tfds.core.DatasetInfo):
    """A DatasetInfo that does not look for the set among TFDS's own in its bucket.

    Looking leaves an empty folder among the temporary files.
    """

    def initialize_from_bucket(self):
        """Does nothing."""


class HcflowPairs(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """The TFDS builder of {"hr": image, "lr": image, "name": text}, in the order of the files.

    Args:
      pairs: the files; examples: the number of tiles that they give.
      facts: METADATA: their scale, tile and more.

    Not a GeneratorBasedBuilder, whose writer keeps up to 1 GB in memory and needs TensorFlow for
    more.
    """

    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # no URLs, citations or tags to look for beside this file

    def __init__(
        self, *, pairs: list[Pair], examples: int, shards: int, facts: dict, data_dir: str | Path
    ):
        self._pairs, self._count, self._shards, self._facts = pairs, examples, shards, facts
        super().__init__(data_dir=os.fspath(data_dir), file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return _Info(
            builder=self,
            description=f"HR and LR images, ×{self._facts['scale']}, for training hcflow_jax.",
            features=tfds.features.FeaturesDict(
                {
                    "hr": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "lr": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "name": tfds.features.Text(),
                }
            ),
            metadata=tfds.core.MetadataDict({METADATA: self._facts}),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(self, dl_manager):
        examples = self._examples()
        ends = [self._count * k // self._shards for k in range(self._shards + 1)]
        counts = [end - start for start, end in itertools.pairwise(ends)]
        return {"train": [functools.partial(itertools.islice, examples, n) for n in counts]}

    def _examples(self):
        digest, numbers = hashlib.sha256(), itertools.count(1)
        with work.progress(None, len(self._pairs), "building") as bar:
            for done, found in enumerate(work.in_order(self._encode, self._pairs), start=1):
                bar.update()
                if done == len(self._pairs):
                    bar.close()
                for example in found:
                    digest.update(example["hr"] + example["lr"])
                    self._facts["contents"] = digest.hexdigest()[:16]
                    yield next(numbers), example

    def _encode(self, pair):
        return encode(pair, self._facts["scale"], self._facts["tile"])


def encode(pair: Pair, scale: int, tile: int = 0) -> list[dict[str, bytes | str]]:
    """[{"hr": PNG, "lr": PNG, "name": text}] of the tiles of a pair, of `tiles.windows`.

    HR is cropped to multiples of `scale`: the last rows and columns are left out, as by the crop
    before downscaling that programs make LR images with. LR tiles are those of the whole LR image.
    The name is that of the file, and x and y of a tile in it.
    """
    hr_path, lr_path = pair
    hr = crop(read_uint8(hr_path), scale)
    lr = imresize(hr, 1 / scale) if lr_path is None else read_uint8(lr_path)
    windows = tiles.windows(lr.shape[:2], scale, tile)
    if len(windows) == 1:
        return [{"hr": _same_png(hr_path, hr) or _png(hr), "lr": _png(lr), "name": hr_path.name}]
    return [_tile(hr_path.name, hr, lr, window, scale) for window in windows]


def _tile(name, hr, lr, window, scale):
    rows, columns = hr_window = tiles.enlarged(window, scale)
    name = f"{name} at {columns.start},{rows.start}"
    return {"hr": _png(hr[hr_window]), "lr": _png(lr[window]), "name": name}


def _png(array):
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(file, "PNG")
    return file.getvalue()


def _same_png(path, array):
    """The bytes of `path` where it already is a plain RGB PNG of `array`, else None."""
    if path.suffix.lower() != ".png":
        return None
    data = path.read_bytes()
    with images.opened(data) as image:
        plain = image.format == "PNG" and image.mode == "RGB" and "transparency" not in image.info
        same = plain and np.array_equal(np.asarray(image), array)
    return data if same else None


ALIKE_DB = 20.0
"""PSNR of an LR image to the bicubic LR of its HR image, below which it may be of another image."""


def check_pairs(pairs: list[Pair], scale: int) -> list[tuple[int, int]]:
    """(height, width) of every LR image, after decoding all files.

    Warns of LR images that hardly resemble their HR images.

    ImageError naming files that are damaged or too small, and pairs that do not match: LR sides
    must be the HR sides / `scale`, rounded down, and both grey or both in colour.
    """

    def attempt(pair):
        try:
            return _check_pair(pair, scale)
        except images.ImageError as error:
            return error

    checked = list(work.progress(work.in_order(attempt, pairs), len(pairs), "checking"))
    bad = [str(found) for found in checked if isinstance(found, Exception)]
    if bad:
        raise images.ImageError(listed(bad))
    unlike = [
        f"{lr_path} has {psnr:.1f} dB to the bicubic LR of {hr_path}"
        for (hr_path, lr_path), (_, psnr) in zip(pairs, checked, strict=True)
        if psnr < ALIKE_DB
    ]
    if unlike:
        line = f"warning: {listed(unlike)}: see whether they are of the same image"
        print(line, file=sys.stderr)
    return [size for size, _ in checked]


def _check_pair(pair, scale):
    """((height, width) of LR, its PSNR to the bicubic one)."""
    hr_path, lr_path = pair
    hr = images.read(hr_path)
    height, width = (side // scale for side in hr.size)
    if min(height, width) < 1:
        raise images.ImageError(f"{hr_path} is smaller than the scale {scale}; remove it")
    if lr_path is None:
        return (height, width), math.inf
    lr = images.read(lr_path)
    if lr.size != (height, width):
        raise images.ImageError(
            f"{hr_path} is {hr.size[1]}×{hr.size[0]}, not {scale} times {lr_path}, "
            f"{lr.size[1]}×{lr.size[0]}; crop it, or name another --scale"
        )
    colour = max(np.ptp(picture.rgb, axis=-1).max() for picture in (hr, lr))
    if hr.grey != lr.grey and colour > _FAINT:
        kinds = [["in colour", "grey"][picture.grey] for picture in (hr, lr)]
        raise images.ImageError(f"{hr_path} is {kinds[0]} but {lr_path} {kinds[1]}; convert one")
    bicubic = imresize(crop(hr.rgb, scale), 1 / scale)
    return (height, width), metrics.psnr(255 * bicubic, 255 * lr.rgb)


def build(
    hr_dir: str | Path,
    output: str | Path,
    lr_dir: str | Path | None = None,
    scale: int = 4,
    recursive: bool = False,
    tile: int = tiles.TILE,
) -> Path:
    """Writes the pairs of a folder of images as a sharded TFDS data set, and returns its folder.

    Large pictures become overlapping tiles of `tile` HR pixels a side, so that a patch costs
    decoding a tile; 0 keeps them whole. An epoch then has a patch of every tile.

    HR is cropped to multiples of `scale`. Without `lr_dir`, LR is MATLAB's bicubic downscaling of
    it. Atomic: `output` appears when all is written. `recursive`: images in folders of the folders
    too.

    Raises:
      UserError: `output` exists or cannot be written; unknown scale; ImageError naming files
        that are damaged or do not match. All before anything is written.
    """
    output = paths.local(output, "name a local folder and copy it there when it is built")
    output = Path(os.path.abspath(output))
    hr_folder, lr_folder = (None if name is None else _folder(name) for name in (hr_dir, lr_dir))
    if scale not in SCALES:
        raise UserError(f"scale must be one of {', '.join(map(str, SCALES))}, got {scale}")
    tiles.check(tile, scale)
    _check_output(output)
    pairs = find_pairs(hr_folder, lr_folder, scale, recursive)
    sizes = check_pairs(pairs, scale)
    shapes = [lr_size for size in sizes for lr_size in _tile_sizes(size, scale, tile)]
    pixels = sum(height * width for height, width in shapes) * (scale**2 + 1)
    shards = max(1, min(len(shapes), round(pixels * _PNG_BYTES_PER_PIXEL / SHARD_BYTES)))
    facts = _facts(pairs, hr_folder, lr_folder, scale, tile, sizes)
    with _unfinished(output) as temporary, _quiet():
        builder = HcflowPairs(
            pairs=pairs, examples=len(shapes), shards=shards, facts=facts, data_dir=temporary
        )
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        try:
            builder.download_and_prepare(download_config=config)
            _check_output(output)
            os.rename(builder.data_dir, output)
        except (OSError, RuntimeError) as error:
            raise _refused(error, output) from error
    return output


def _refused(error, output):
    """The UserError of what the system refused while `output` was written; others as they are."""
    told = re.search(r"\w+\(\) failed: ([^;]+)", str(error))  # of array_record's writer
    reason = getattr(error, "strerror", None) or (told and told[1])
    if reason is None:
        return error
    return UserError(f"cannot write {output} ({reason}); free space or name another folder")


def _folder(name):
    return paths.local(name, "copy the pictures to a local folder first")


def _check_output(output):
    if os.path.lexists(output):
        raise UserError(f"{output} exists; name a new folder")
    if not output.parent.is_dir():
        raise UserError(f"{output.parent} is not a folder; create it to write {output.name}")
    if not os.access(output.parent, os.W_OK):
        raise UserError(f"cannot write to {output.parent}; name another folder")


def _tile_sizes(lr_size, scale, tile):
    return [
        (rows.stop - rows.start, columns.stop - columns.start)
        for rows, columns in tiles.windows(lr_size, scale, tile)
    ]


def _facts(pairs, hr_dir, lr_dir, scale, tile, sizes):
    (hr_path, _), size = min(zip(pairs, sizes, strict=True), key=lambda found: min(found[1]))
    size = _tile_sizes(size, scale, tile)[0]
    return {
        "scale": scale,
        "tile": tile,
        "lr": "MATLAB bicubic" if lr_dir is None else f"files of {lr_dir.resolve().name}",
        "hr": f"files of {hr_dir.resolve().name}",
        "smallest": [hr_path.name, *size],
    }


@contextlib.contextmanager
def _unfinished(output):
    """Yields a hidden folder beside `output`, and removes it in the end.

    Removes those of killed builds too: a build locks its folder, and the system releases the lock
    however the build ends.
    """
    prefix = f".{output.name}.unfinished-"
    for folder in output.parent.glob(f"{glob.escape(prefix)}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink():
                continue
            with locked(folder / _LOCK) as held:
                pass
            if held:
                shutil.rmtree(folder)
    try:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=output.parent))
    except OSError as error:
        raise UserError(
            f"cannot write to {output.parent} ({error.strerror}); name another folder"
        ) from error
    try:
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                stack.enter_context(locked(folder / _LOCK))
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _quiet():
    """Hides the output of TFDS, which shows paths that are about to be renamed."""
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
