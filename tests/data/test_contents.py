"""Training data are decoded and hashed whole, once."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from hcflow_jax import data, images
from hcflow_jax.data import build, contents, messages


def _photo(path, seed):
    array = np.random.default_rng(seed).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    Image.fromarray(array).save(path)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Three pictures, old enough to be remembered."""
    monkeypatch.setattr(contents, "SETTLED_S", -1.0)
    (tmp_path / "photos").mkdir()
    for i in range(3):
        _photo(tmp_path / f"photos/{i}.bmp", i)
    return tmp_path / "photos"


@pytest.fixture
def read(monkeypatch):
    """The names of files that are hashed."""
    names, digest = [], contents.digest
    monkeypatch.setattr(contents, "digest", lambda p: names.append(p.name) or digest(p))
    return names


def _examine(folder, record, **options):
    source = data.open_source(str(folder), "", "train", 4)
    source.examine(contents.Known(record), **options)
    return source.fingerprint


def _change(path, keep_time=True):
    """Other pixels, and the old time of modification."""
    before, content = path.stat(), bytearray(path.read_bytes())
    for i in range(60, len(content)):
        content[i] ^= 255
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_every_byte_of_a_file_counts(tmp_path):
    pixels, found = np.zeros((64, 64, 3), np.uint8), set()
    for row in (None, 0, 31, 63):
        changed = pixels if row is None else np.where(np.arange(64)[:, None, None] == row, 9, 0)
        Image.fromarray(changed.astype(np.uint8) + pixels).save(tmp_path / "a.bmp")
        found.add(data.open_source(str(tmp_path), "", "train", 4).fingerprint)
    assert len(found) == 4


def test_unchanged_files_are_read_once(photos, tmp_path, read, monkeypatch):
    record = tmp_path / "data.json"
    first = _examine(photos, record)
    assert sorted(read) == ["0.bmp", "1.bmp", "2.bmp"]
    monkeypatch.setattr(data.FolderSource, "_load", lambda *_: pytest.fail("decoded again"))
    assert _examine(photos, record) == first and len(read) == 3
    assert data.open_source(str(photos), "", "train", 4).fingerprint == first


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_changed_file_is_read_again_whatever_its_time_says(photos, tmp_path, read, keep_time):
    first = _examine(photos, tmp_path / "data.json")
    del read[:]
    _change(photos / "1.bmp", keep_time)
    assert _examine(photos, tmp_path / "data.json") != first and read == ["1.bmp"]


def test_a_file_that_has_only_just_changed_is_not_remembered(photos, tmp_path, read, monkeypatch):
    monkeypatch.setattr(contents, "SETTLED_S", 100.0)
    for count in (3, 6):
        _examine(photos, tmp_path / "data.json")
        assert len(read) == count


def test_hashed_is_not_decoded(photos, tmp_path):
    data_ = (photos / "1.bmp").read_bytes()
    (photos / "1.bmp").write_bytes(data_[:-300])
    _examine(photos, tmp_path / "data.json", decode=False)
    with pytest.raises(images.ImageError, match=r"1\.bmp is truncated.*export it again"):
        _examine(photos, tmp_path / "data.json")


def test_all_damaged_pictures_are_named_and_the_others_remembered(photos, tmp_path, read):
    whole = (photos / "1.bmp").read_bytes()
    for name in ("0.bmp", "1.bmp"):
        (photos / name).write_bytes(whole[:-300])
    with pytest.raises(images.ImageError, match=r"0\.bmp is trunc.*1\.bmp is trunc") as error:
        _examine(photos, tmp_path / "data.json")
    assert str(error.value).count("export it again") == 1
    for name in ("0.bmp", "1.bmp"):
        (photos / name).write_bytes(whole)
    _examine(photos, tmp_path / "data.json")
    assert read.count("2.bmp") == 1


def test_what_was_done_before_a_stop_is_remembered(photos, tmp_path, read, monkeypatch):
    monkeypatch.setattr(contents.work.os, "cpu_count", lambda: 1)

    def poll():
        if len(read) > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _examine(photos, tmp_path / "data.json", poll=poll)
    done = len(read)
    assert 0 < len(json.loads((tmp_path / "data.json").read_text())) <= done
    _examine(photos, tmp_path / "data.json")
    assert len(read) == 3


@pytest.mark.parametrize("text", ["{", "[]", '{"x": 3}', '{"%s/0.bmp": [[1, 2, 3], true, 5]}'])
def test_a_damaged_record_counts_as_empty(photos, tmp_path, read, text):
    (tmp_path / "data.json").write_text(text.replace("%s", str(photos)))
    _examine(photos, tmp_path / "data.json")
    assert len(read) == 3


def test_a_built_set_is_decoded_and_is_the_same_when_built_again(photos, tmp_path):
    path = build.build(photos, tmp_path / "set")
    first = _examine(path, tmp_path / "data.json")
    (shard,) = path.glob("*array_record*")
    content = bytearray(shard.read_bytes())
    content[content.find(b"IDAT") + 40] ^= 4
    shard.write_bytes(content)
    with pytest.raises(images.ImageError, match="set.* is damaged .*prepare the data set again"):
        _examine(path, tmp_path / "data.json")
    shutil.rmtree(path)
    assert _examine(build.build(photos, path), tmp_path / "data.json") == first


def test_a_remedy_is_told_once():
    problems = [messages.too_small(f"{i}.png", (6, 7), 8, 4) for i in range(7)]
    found = messages.listed(problems)
    assert found.count("--config.data.patch_size") == 1 and found.endswith("; and 2 more")
    assert found.startswith("0.png is 28×24, smaller than patch_size 32; 1.png is")
    mixed = messages.listed(["a is empty; remove it", "b is grey; convert it"])
    assert mixed == "a is empty; remove it; b is grey; convert it"
