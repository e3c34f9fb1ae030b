"""Files mean the same to `images`, folders and sets that are built."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hcflow_jax import images
from hcflow_jax.data import build
from hcflow_jax.data.folder import FolderSource

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 20, 3), dtype=np.uint8)


def _late_exif(path):
    """A PNG whose orientation stands behind its pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    file = io.BytesIO()
    Image.fromarray(COLOUR).save(file, "PNG")
    head, end = file.getvalue()[:-12], file.getvalue()[-12:]
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(head + chunk + end)


def _hidden(path):
    alpha = np.where(COLOUR[..., :1] < 128, 0, 255).astype(np.uint8)
    Image.fromarray(np.concatenate([COLOUR, alpha], -1)).save(path)


def _key(path):
    Image.fromarray(COLOUR).save(path, transparency=tuple(map(int, COLOUR[0, 0])))


def _floats(path):
    Image.fromarray(COLOUR[..., 0].astype(np.float32) / 255).save(path, "TIFF")


@pytest.mark.parametrize("make", [_late_exif, _hidden, _key, _floats])
def test_training_and_building_read_what_pictures_are(tmp_path, make):
    path = tmp_path / "a.png"
    make(path)
    expected = np.rint(255 * images.read(path).rgb).astype(np.uint8)
    source = FolderSource(tmp_path, 4)
    assert source.size(0) == tuple(side // 4 for side in expected.shape[:2])
    np.testing.assert_array_equal(source.pair(0)["hr"], expected)
    assert build.check_pairs([(path, None)], 4) == [source.size(0)]
    (encoded,) = build.encode((path, None), 4)
    np.testing.assert_array_equal(images.read_uint8(encoded["hr"]), expected)
    with Image.open(io.BytesIO(encoded["hr"])) as image:
        assert (image.mode, image.size) == ("RGB", expected.shape[1::-1])
        assert not image.getexif() and "transparency" not in image.info


def test_a_faint_tint_that_a_smaller_picture_lost_is_no_mismatch(tmp_path):
    hr = np.full((8, 8, 3), 90, np.uint8)
    hr[3, 4, 0] += 3
    Image.fromarray(hr).save(tmp_path / "hr.png")
    Image.new("L", (2, 2), 90).save(tmp_path / "lr.png")
    pair = tmp_path / "hr.png", tmp_path / "lr.png"
    assert build.check_pairs([pair], 4) == [(2, 2)]
