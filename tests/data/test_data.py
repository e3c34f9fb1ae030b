"""Sources of pairs and the stream of batches made of them."""

import io
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from hcflow_jax import data as sources
from hcflow_jax import images
from hcflow_jax.data import build, pipeline
from hcflow_jax.errors import UserError
from hcflow_jax.images.resize import imresize

SIZES = [(33, 30), (24, 47), (61, 40)]


def _photo(seed, height, width, mode="RGB"):
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(array).convert(mode)


def _png(image):
    """Encoding arrays, TFDS would import TensorFlow."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, size in enumerate(SIZES):
        _photo(i, *size).save(folder / f"{i}.png")
    return folder


class TinySet(tfds.core.GeneratorBasedBuilder):
    """Grey pictures, a label, and an image in another place."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=n) for n in ("image", "two", "none", "small")]
    code_path = None

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
        features = {
            "image": {"image": image, "label": tfds.features.Text()},
            "two": {"left": image, "right": image},
            "none": {"label": tfds.features.Text()},
            "small": {"only": tfds.features.Image(shape=(20, 22, 3))},
        }[self.builder_config.name]
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(4), "test": self._generate_examples(2)}

    def _generate_examples(self, count):
        for i in range(count):
            grey, colour = _photo(i, 30 + i, 41, "L"), _photo(i, 20, 22)
            example = {"label": "a", "image": _png(grey), "left": _png(grey), "right": _png(grey)}
            example["only"] = _png(colour)
            yield i, {key: example[key] for key in self.info.features}


@pytest.fixture
def tiny_set(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    config = tfds.download.DownloadConfig(try_download_gcs=False)

    def prepare(name="image", file_format="array_record"):
        builder = tfds.builder(
            f"tiny_set/{name}", data_dir=tmp_path / "tfds", file_format=file_format
        )
        builder.download_and_prepare(download_config=config)
        return builder.data_dir

    return prepare


@pytest.fixture(params=["folder", "built", "tfds"])
def source(request, photos, tmp_path):
    if request.param == "folder":
        return sources.open_source(str(photos), "", "train", 4)
    if request.param == "built":
        return sources.open_source(str(build.build(photos, tmp_path / "set")), "", "train", 4)
    request.getfixturevalue("tiny_set")()
    return sources.open_source("", "tiny_set/image", "train", 4)


def _assert_same(one, two):
    for key in ("hr", "lr"):
        assert one[key].dtype == two[key].dtype
        np.testing.assert_array_equal(one[key], two[key])


def test_pairs_are_matlabs_and_patches_their_crops_to_the_last_bit(source):
    """Every position, at the borders and inside, and every size from one pixel to the whole."""
    for index in range(len(source)):
        pair = source.pair(index)
        height, width = source.size(index)
        assert pair["hr"].dtype == np.uint8 and pair["hr"].shape == (4 * height, 4 * width, 3)
        np.testing.assert_array_equal(pair["lr"], imresize(pair["hr"], 1 / 4))
        for size in (1, 2, min(height, width)):
            for top, left in itertools.product(
                range(height - size + 1), range(0, width - size + 1, 2)
            ):
                patch = source.patch(index, top, left, size)
                crop = pair["lr"][top : top + size, left : left + size]
                np.testing.assert_array_equal(patch["lr"], crop)
                crop = pair["hr"][4 * top : 4 * (top + size), 4 * left : 4 * (left + size)]
                np.testing.assert_array_equal(patch["hr"], crop)


@pytest.mark.parametrize("scale", [2, 8, 16])
def test_patches_of_other_scales(tmp_path, scale):
    _photo(0, 7 * scale, 9 * scale).save(tmp_path / "a.png")
    source = sources.FolderSource(tmp_path, scale, cache_bytes=0)
    lr = source.pair(0)["lr"]
    for top, left in itertools.product(range(5), range(7)):
        patch = source.patch(0, top, left, 3)
        np.testing.assert_array_equal(patch["lr"], lr[top : top + 3, left : left + 3])


def test_sources_travel_without_handles_or_pictures(source):
    pair = source.pair(1)
    travelled = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 2000
    assert repr(travelled) == repr(source) and travelled.fingerprint == source.fingerprint
    _assert_same(travelled.pair(1), pair)
    assert len(source) in (3, 4) and "1" in source.name(1) and "×4" in repr(source)
    with pytest.raises(IndexError, match="no picture"):
        source.pair(len(source))
    with pytest.raises(ValueError, match="read-only"):
        pair["hr"][:] = 0


def test_the_cache_is_bounded(photos):
    whole = sources.FolderSource(photos, 4)
    sizes = [whole.pair(i)["hr"].nbytes for i in range(3)]
    source = sources.FolderSource(photos, 4, cache_bytes=sizes[0] + sizes[1])
    for index in (0, 1, 2, 0, 1, 2):
        _assert_same(source.pair(index), whole.pair(index))
    for index in range(3):
        os.unlink(photos / f"{index}.png")
    source.pair(0), source.pair(1)
    with pytest.raises(images.ImageError, match="2.png"):
        source.pair(2)


@pytest.mark.parametrize("rotate", [True, False])
def test_patches_are_aligned_and_turned_in_every_way(rotate):
    class Marked(sources.FolderSource):
        def __init__(self):
            self.scale = 4

        def size(self, index):
            return 6, 7

        def patch(self, index, top, left, size):
            lr = np.arange(6 * 7, dtype=np.uint8).reshape(6, 7, 1)
            lr = lr[top : top + size, left : left + size].repeat(3, -1)
            return {"hr": lr.repeat(4, 0).repeat(4, 1), "lr": lr}

    rng, seen = np.random.default_rng(0), set()
    for _ in range(500):
        patch = pipeline.RandomPatch(Marked(), 5, rotate).random_map(0, rng)
        np.testing.assert_array_equal(patch["hr"][::4, ::4], patch["lr"])
        seen.add(patch["lr"].tobytes())
    assert len(seen) == 2 * 3 * (8 if rotate else 2)


def _take(dataset, first, workers, count=4):
    with pipeline.iterate(dataset, first, workers) as batches:
        return list(itertools.islice(batches, count))


@pytest.mark.parametrize(
    "source, workers",
    [("folder", 0), ("folder", 1), ("folder", 2), ("built", 0), ("built", 2), ("tfds", 2)],
    indirect=["source"],
)
def test_the_stream_is_the_same_for_any_workers_and_start(source, workers):
    dataset = pipeline.patches(source, 4, 16, True, 3, seed=5)
    for i, batch in enumerate(_take(dataset, 3, workers)):
        assert batch["hr"].shape == (3, 16, 16, 3) and batch["lr"].shape == (3, 4, 4, 3)
        assert batch["hr"].dtype == batch["lr"].dtype == np.float32
        assert 0.5 < batch["hr"].max() <= 1
        _assert_same(batch, dataset[3 + i])


def test_batches_are_functions_of_seed_and_number(photos):
    source = sources.FolderSource(photos, 4)
    one, two, other = (pipeline.patches(source, 4, 16, True, 3, seed) for seed in (5, 5, 6))
    for i in (0, 7, 100_000):
        _assert_same(one[i], two[i])
        assert np.any(one[i]["hr"] != other[i]["hr"])


def test_every_epoch_has_each_picture_once_in_its_own_order(tmp_path):
    for i in range(8):
        Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / f"{i}.png")
    dataset = pipeline.patches(sources.FolderSource(tmp_path, 4), 4, 8, False, 2, seed=0)
    drawn = np.concatenate([255 * dataset[i]["hr"][:, 0, 0, 0] for i in range(12)]).round()
    epochs = {tuple(epoch) for epoch in drawn.reshape(3, 8).astype(int)}
    assert len(epochs) == 3 and all(sorted(epoch) == list(range(8)) for epoch in epochs)


@pytest.mark.parametrize("processes", [2, 4])
def test_hosts_share_the_same_global_batch(photos, processes):
    source = sources.FolderSource(photos, 4)
    whole = pipeline.patches(source, 4, 16, True, 4, seed=1)
    parts = [pipeline.patches(source, 4, 16, True, 4, 1, p, processes) for p in range(processes)]
    for i in (0, 1, 9):
        for key in ("hr", "lr"):
            joined = np.concatenate([part[i][key] for part in parts])
            np.testing.assert_array_equal(joined, whole[i][key])
    resumed = _take(parts[1], 9, 0, 1)[0]
    _assert_same(resumed, parts[1][9])


SCRIPT = """
import multiprocessing, sys, time
from hcflow_jax import data as sources
from hcflow_jax.data import pipeline
if __name__ == "__main__":
    assert "tensorflow" not in sys.modules
    dataset = pipeline.patches(sources.FolderSource(sys.argv[1], 4), 4, 16, True, 3, seed=5)
    batches = pipeline.iterate(dataset, 2, workers=2)
    print(float(next(batches)["hr"].sum()), flush=True)
    next(batches)
    if sys.argv[2] == "wait":
        for child in multiprocessing.active_children():
            child.terminate()
            print(child.pid)
        for _ in range(19):
            last = next(batches)
        print(float(last["hr"].sum()), flush=True)
        time.sleep(60)
"""


@pytest.fixture
def script(photos, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    return [sys.executable, str(tmp_path / "script.py"), str(photos)]


def test_a_program_that_closes_nothing_ends_quietly(photos, script):
    done = subprocess.run([*script, ""], capture_output=True, text=True, timeout=60)
    dataset = pipeline.patches(sources.FolderSource(photos, 4), 4, 16, True, 3, seed=5)
    assert done.returncode == 0 and done.stderr == ""
    assert float(done.stdout) == dataset[2]["hr"].sum()


def test_workers_outlast_sigterm_but_not_their_parent(photos, script):
    dataset = pipeline.patches(sources.FolderSource(photos, 4), 4, 16, True, 3, seed=5)
    with subprocess.Popen([*script, "wait"], stdout=subprocess.PIPE, text=True) as program:
        _, *pids, last = (program.stdout.readline() for _ in range(4))
        assert float(last) == dataset[22]["hr"].sum()
        program.kill()
    for _ in range(100):
        if not any(os.path.exists(f"/proc/{int(pid)}") for pid in pids):
            return
        time.sleep(0.1)
    pytest.fail("workers are left")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, words", [("SIGKILL", "was killed by signal 9"), ("SIGSTOP", r"within 3 s from the proc")]
)
def test_a_worker_that_is_killed_or_hangs_is_told_and_ended(photos, name, words):
    dataset = pipeline.patches(sources.FolderSource(photos, 4), 4, 16, True, 3, seed=5)
    with pipeline.iterate(dataset, 0, workers=1, what="photos") as batches:
        next(batches)
        (worker,) = pipeline._workers(set())
        os.kill(worker.pid, getattr(signal, name))
        with pytest.raises(UserError, match=f"{words}.*--config.data") as error:
            while True:
                if batches.get(3) is None:
                    raise batches.late(3)
        assert "photos" in str(error.value)
        since = time.monotonic()
    assert time.monotonic() - since < 15  # grain alone waits 25 s
    worker.join(5)
    assert not worker.is_alive()


def test_a_batch_that_is_late_is_asked_for_again(photos, monkeypatch):
    dataset = pipeline.patches(sources.FolderSource(photos, 4), 4, 16, True, 3, seed=5)
    held, load = threading.Event(), sources.FolderSource._load
    monkeypatch.setattr(sources.FolderSource, "_load", lambda *a: held.wait() and load(*a))
    with pipeline.iterate(dataset, 4) as batches:
        assert batches.get(0.1) is None
        assert "threads that read it" in str(batches.late(0.1))
        held.set()
        _assert_same(batches.get(60), dataset[4])
        _assert_same(next(batches), dataset[5])


def test_closed_batches_are_refused(photos):
    dataset = pipeline.patches(sources.FolderSource(photos, 4), 4, 16, True, 3, seed=5)
    batches = pipeline.iterate(dataset)
    next(batches)
    batches.close()
    with pytest.raises(ValueError, match="closed"):
        next(batches)
    with pytest.raises(ValueError, match="workers"):
        pipeline.iterate(dataset, 0, -1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_file_is_named_when_it_is_met(photos, workers):
    data = (photos / "1.png").read_bytes()
    (photos / "1.png").write_bytes(data[:-400])
    dataset = pipeline.patches(sources.FolderSource(photos, 4), 4, 16, True, 3, seed=5)
    with pytest.raises(images.ImageError, match="1.png is truncated"):
        _take(dataset, 0, workers)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((4, 18, True, 4, 0), "patch_size 18"),
        ((4, 0, True, 4, 0), "patch_size 0"),
        ((2, 16, True, 4, 0), "scale"),
        ((4, 16, True, 5, 0, 0, 2), "batch_size 5.*2 processes"),
        ((4, 32, True, 4, 0), r"0.png is 28×32, [^;]*; .*1.png is 44×24, .*patch_size lower$"),
    ],
)
def test_bad_requests_are_refused(photos, arguments, words):
    with pytest.raises(ValueError, match=words):
        pipeline.patches(sources.FolderSource(photos, 4), *arguments)


def test_bad_folders_are_named(photos, tmp_path):
    (photos / "3.png").write_bytes(b"no image")
    (photos / "4.jpg").write_bytes(b"")
    _photo(0, 3, 9).save(photos / "5.png")
    with pytest.raises(images.ImageError, match="3.png.*4.jpg.*5.png is 9×3") as error:
        sources.FolderSource(photos, 4)
    assert "\n" not in str(error.value)
    (tmp_path / "hollow").mkdir()
    for name in ("absent", "hollow"):
        with pytest.raises(images.ImageError, match=name):
            sources.open_source(str(tmp_path / name), "", "train", 4)


def test_odd_files_are_read_upright_and_in_colour(tmp_path):
    turned = _photo(0, 16, 24)
    exif = turned.getexif()
    exif[0x0112] = 6
    for name in ("a.jpg", "a.png", "a.tif", "a.webp"):
        turned.save(tmp_path / name, exif=exif)
    for i, mode in enumerate(("L", "P", "RGBA", "1", "I;16", "CMYK")):
        image = _photo(1, 24, 16, "L" if mode == "I;16" else mode)
        image.convert(mode).save(tmp_path / f"{i}.{'tif' if mode == 'CMYK' else 'png'}")
    source = sources.FolderSource(tmp_path, 4)
    assert len(source) == 10
    for index in range(len(source)):
        assert source.size(index) == (6, 4)
        assert source.pair(index)["hr"].shape == (24, 16, 3)
        expected = np.rint(255 * images.read(source.name(index)).rgb)
        np.testing.assert_array_equal(source.pair(index)["hr"], expected)


def test_fingerprints_tell_data_and_not_places(photos, tmp_path):
    first = sources.FolderSource(photos, 4).fingerprint
    moved = photos.rename(tmp_path / "moved")
    os.utime(moved / "0.png", (1, 1))
    assert sources.FolderSource(moved, 4).fingerprint == first
    others = {first, sources.FolderSource(moved, 2).fingerprint}
    _photo(9, 8, 8).save(moved / "0.png")
    others.add(sources.FolderSource(moved, 4).fingerprint)
    (moved / "0.png").rename(moved / "7.png")
    others.add(sources.FolderSource(moved, 4).fingerprint)
    assert len(others) == 4 and all(len(text) == 16 for text in others)


def test_installed_sets(tiny_set):
    tiny_set()
    source = sources.open_source("", "tiny_set/image:1.0.0", "train[25%:]", 4)
    whole = sources.open_source("", "tiny_set/image", "train", 4)
    assert (len(whole), len(source)) == (4, 3) and whole.fingerprint != source.fingerprint
    for i in range(3):
        _assert_same(source.pair(i), whole.pair(i + 1))
    hr = source.pair(0)["hr"]
    assert np.all(hr == hr[..., :1])
    found = {whole.pair(i)["hr"][:28, :40, 0].tobytes() for i in range(4)}
    made = {np.asarray(_photo(i, 30 + i, 41, "L"))[:28, :40].tobytes() for i in range(4)}
    assert found == made
    for split in ("validation", "train[:", "train[2:2]"):
        with pytest.raises(ValueError, match="--config.data.split") as error:
            sources.open_source("", "tiny_set/image", split, 4)
        assert split in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(images.ImageError, match="picture . of tiny_set/image.* smaller than"):
        pipeline.patches(source, 4, 48, True, 2, 0)[0]


def test_a_prepared_set_may_be_given_by_its_folder(tiny_set):
    directory = tiny_set("small")
    for path in (directory, os.path.dirname(directory)):
        source = sources.open_source(path, "", "test", 4)
        assert isinstance(source, sources.TfdsSource) and source.size(1) == (5, 5)
    with pytest.raises(images.ImageError, match="smaller than patch_size 24"):
        pipeline.patches(source, 4, 24, True, 2, 0)


def test_unfit_sets_are_refused(tiny_set):
    for name, words in [
        ("two", "left: Image, right: Image"),
        ("none", "neither an image.*label: Text"),
    ]:
        tiny_set(name)
        with pytest.raises(ValueError, match=words):
            sources.open_source("", f"tiny_set/{name}", "train", 4)
    for name in ("nonesuch", "tiny_set/nonesuch", "tiny_set/image:7.0.0", "a:b:c//"):
        with pytest.raises(ValueError, match="--config.data.tfds") as error:
            sources.open_source("", name, "train", 4)
        assert "\n" not in str(error.value) and name in str(error.value)
    with pytest.raises(ValueError, match=r"not prepared.*builder\('tiny_set/image', file_format"):
        sources.open_source("", "tiny_set/image", "train", 4)
    directory = tiny_set("image")
    info = os.path.join(directory, "dataset_info.json")
    with open(info) as file:
        text = file.read()
    with open(info, "w") as file:
        file.write(text.replace('"array_record"', '"tfrecord"'))
    for arguments in (("", "tiny_set/image"), (directory, "")):
        with pytest.raises(ValueError, match="not in array_record form.*download_and_prepare"):
            sources.open_source(*arguments, "train", 4)


@pytest.fixture
def harmful(tmp_path, monkeypatch):
    """A module that says that it was imported."""
    (tmp_path / "harmful_features.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("legacy", [False, True])
def test_features_of_a_set_import_nothing(tiny_set, harmful, legacy):
    directory = tiny_set("image")
    path = os.path.join(directory, "features.json")
    with open(path) as file:
        found = json.load(file)
    if legacy:
        found = {"type": "harmful_features.Image", "content": {}}
    else:
        found["featuresDict"]["features"]["image"]["pythonClassName"] = "harmful_features.Image"
    with open(path, "w") as file:
        json.dump(found, file)
    for arguments in ((directory, ""), ("", "tiny_set/image")):
        with pytest.raises(UserError, match="features.json names 'harmful_features.Image'"):
            sources.open_source(*arguments, "train", 4)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("", "", "train", 4), "both are empty"),
        (("photos", "div2k", "train", 4), "not both"),
        (("photos", "", "test", 4), "no split 'test'"),
        (("photos", "", "train", 3), "scale must be one of"),
    ],
)
def test_bad_choices(photos, monkeypatch, arguments, words):
    monkeypatch.chdir(photos.parent)
    with pytest.raises(ValueError, match=words):
        sources.open_source(*arguments)
