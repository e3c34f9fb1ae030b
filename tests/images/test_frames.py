"""Files that hold several pictures."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hcflow_jax import images

RNG = np.random.default_rng(0)
FRAMES = [RNG.integers(0, 256, (6, 8, 4), dtype=np.uint8) | [0, 0, 0, 128] for _ in range(3)]


def _file(kind, frames, **options):
    file = io.BytesIO()
    first, *others = (Image.fromarray(frame.astype(np.uint8)) for frame in frames)
    first.save(file, kind, save_all=True, append_images=others, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind, options", [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_every_frame_is_read_with_its_transparency(kind, options):
    data = _file(kind, FRAMES, **options)
    assert images.frame_count(data) == 3
    for number, frame in enumerate(FRAMES):
        found = images.read(data, None, number)
        np.testing.assert_array_equal(np.rint(255 * found.rgb), frame[..., :3])
        np.testing.assert_array_equal(np.rint(255 * found.alpha), frame[..., 3])
        assert found.notes == ()
    assert images.read(data).notes == ("of several pictures in it only the first is taken",)


@pytest.mark.parametrize("kind", ["GIF", "AVIF"])
def test_frames_of_few_colours(kind):
    colours = [(200, 30, 40), (20, 160, 60), (30, 40, 220)]
    data = _file(kind, [np.full((6, 8, 3), colour) for colour in colours])
    for number, colour in enumerate(colours):
        found = images.read(data, None, number)
        np.testing.assert_allclose(255 * found.rgb[2, 3], colour, atol=6)


def test_one_picture_is_one_frame():
    for kind in ("PNG", "JPEG", "BMP"):
        file = io.BytesIO()
        Image.new("RGB", (4, 4)).save(file, kind)
        assert images.frame_count(file.getvalue()) == 1


def test_pages_of_a_tiff_have_sizes_of_their_own():
    data = _file("TIFF", [np.zeros((4, 4)), RNG.integers(0, 256, (20, 30, 3))])
    assert images.read(data, 100, 0).grey
    assert images.read(data, 600, 1).rgb.shape == (20, 30, 3)
    with pytest.raises(images.ImageError, match="has 600, more than 599 pixels"):
        images.read(data, 599, 1)


def test_a_frame_that_is_cut_off_is_refused_and_the_others_are_read(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(_file("PNG", FRAMES)[:-100])
    assert images.frame_count(path) == 3
    for number in (0, 1):
        images.read(path, None, number)
    with pytest.raises(images.ImageError, match=r"a.png is truncated or damaged"):
        images.read(path, None, 2)


def test_frames_that_cannot_be_counted_are_no_obstacle_to_the_first():
    data = _file("TIFF", FRAMES[:2])
    data = data[: len(data) * 3 // 5]
    with pytest.raises(images.ImageError, match="damaged"):
        images.frame_count(data)
    np.testing.assert_array_equal(np.rint(255 * images.read(data).rgb), FRAMES[0][..., :3])


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _animated_16_bit_png(frames):
    height, width, _ = frames[0].shape
    data = b"\x89PNG\r\n\x1a\n" + _chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, *3 * [0])
    )
    data += _chunk(b"acTL", struct.pack(">II", len(frames), 0))
    for number, frame in enumerate(frames):
        place = (max(2 * number - 1, 0), width, height, 0, 0, 1, 10, 0, 0)
        data += _chunk(b"fcTL", struct.pack(">IIIIIHHBB", *place))
        rows = frame.astype(">u2").view(np.uint8).reshape(height, -1)
        packed = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
        sequence = struct.pack(">I", 2 * number) if number else b""
        data += _chunk(b"fdAT" if number else b"IDAT", sequence + packed)
    return data + _chunk(b"IEND", b"")


def test_frames_of_16_bits_are_read_by_their_upper_bytes():
    frames = [RNG.integers(0, 2**16, (6, 8, 3), dtype=np.uint16) for _ in range(2)]
    data = _animated_16_bit_png(frames)
    first, second = (images.read(data, None, number) for number in (0, 1))
    np.testing.assert_array_equal(np.rint(65535 * first.rgb), frames[0])
    np.testing.assert_array_equal(np.rint(255 * second.rgb), frames[1] >> 8)
    assert (first.bits, second.bits) == (16, 8)
    assert second.notes == ("of its 16 bits per channel 8 are read",)


def test_pages_of_16_bits_are_read_whole():
    file, pages = io.BytesIO(), [RNG.integers(0, 2**16, (6, 8), dtype=np.uint16) for _ in range(2)]
    first, second = map(Image.fromarray, pages)
    first.save(file, "TIFF", save_all=True, append_images=[second])
    for number, page in enumerate(pages):
        found = images.read(file.getvalue(), None, number)
        assert found.bits == 16
        np.testing.assert_array_equal(np.rint(65535 * found.rgb[..., 0]), page)
