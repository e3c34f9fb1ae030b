"""Paths in buckets: never a local folder called `gs:`; read and written like local ones."""

import os
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from hcflow_jax import checkpoints, cli, data, images, paths
from hcflow_jax.errors import UserError
from hcflow_jax.training.workdir import Record, locked
from tests.command import CONFIGS, photographs


class Buckets(MemoryFileSystem):
    """All of Google's buckets, in memory."""

    store, pseudo_dirs = {}, [""]

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("gs://", "/", 1))


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """gs://bucket, empty, as gcsfs would show it; in an empty working folder."""
    fsspec.register_implementation("gcs", Buckets, clobber=True)
    monkeypatch.setattr(paths, "_READER", "fsspec")
    monkeypatch.setenv("EPATH_USE_TF", "0")
    monkeypatch.setattr("etils.epath.gpath._is_tf_installed", lambda: False)  # it is cached
    gcs = "orbax.checkpoint._src.path.gcs_utils"  # asks Google
    monkeypatch.setattr(f"{gcs}.is_hierarchical_namespace_enabled", lambda path: False)
    monkeypatch.chdir(tmp_path)
    Buckets.store.clear()
    yield epath.Path("gs://bucket")
    assert not (tmp_path / "gs:").exists()


def _upload(folder, target):
    for file in folder.rglob("*"):
        if file.is_file():
            (target / file.relative_to(folder).as_posix()).write_bytes(file.read_bytes())


TRAIN = ["train", f"--config={CONFIGS}/sr_x4.py:smoke"]


@pytest.mark.parametrize(
    "argv",
    [
        [*TRAIN, "--workdir=gs://bucket/run", "--config.data.path=photos"],
        [*TRAIN, "--workdir=run", "--config.data.path=gs://bucket/run"],
        [
            *TRAIN,
            "--workdir=run",
            "--config.data.path=photos",
            "--config.init_from=gs://bucket/run",
        ],
        ["upscale", "photos/0.png", "--checkpoint=gs://bucket/run"],
        ["convert", "gs://bucket/run", "-o", "there"],
        ["convert", "here.npz", "-o", "gs://bucket/run"],
        ["data", "build", "photos", "-o", "gs://bucket/run"],
        ["demo", "-o", "gs://bucket/run"],
    ],
)
def test_without_gcsfs_one_line_says_so(argv, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    photographs("photos")
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert error == "hcflow: gs://bucket/run needs gcsfs; pip install 'hcflow_jax[gcs]'\n"
    assert not (tmp_path / "gs:").exists()


def test_a_local_path_stays_as_it_is():
    for name in ("a/b", "/gs/b", "C:\\a", "a:b", "."):
        path = paths.located(name)
        assert type(path) is type(Path()) and path == Path(name) and not paths.is_remote(path)
        assert paths.absolute(path) == Path(name).absolute()


def test_a_slash_that_pathlib_took_is_put_back(bucket):
    assert os.fspath(paths.located(Path("gs://bucket/a"))) == "gs://bucket/a"
    assert os.fspath(paths.absolute(paths.located("gs://bucket/a"))) == "gs://bucket/a"


def test_other_schemes_are_refused():
    with pytest.raises(UserError, match="s3://a: s3:// is not known; .* gs://"):
        paths.located("s3://a")


def test_a_bucket_that_does_not_answer_is_one_line(bucket, monkeypatch):
    def refuse(self, path, **_):
        raise RuntimeError("no\nanswer")

    monkeypatch.setattr(Buckets, "exists", refuse)
    with pytest.raises(UserError, match="cannot reach gs://bucket/a: no answer; check its name"):
        paths.reached("gs://bucket/a")


def test_a_folder_of_images_is_the_same_data_in_a_bucket(bucket):
    photographs("photos")
    Path("photos/notes.txt").write_text("no image")
    Image.open("photos/0.png").save("photos/10.jpg", exif=_turned())
    _upload(Path("photos"), bucket / "photos")
    here, there = (
        data.open_source(name, "", "train", 4) for name in ("photos", f"{bucket}/photos")
    )
    assert there.name(0) == "gs://bucket/photos/0.png"
    assert len(there) == len(here) == 4 and there.fingerprint == here.fingerprint
    for i in range(4):
        assert there.size(i) == here.size(i)
        np.testing.assert_array_equal(there.pair(i)["hr"], here.pair(i)["hr"])
        np.testing.assert_array_equal(images.read(there.name(i)).rgb, images.read(here.name(i)).rgb)


def _turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_pictures_that_are_missing_or_damaged_in_a_bucket_are_named(bucket):
    (bucket / "a/0.png").write_bytes(b"no image")
    for path, words in (
        ("a/1.png", "does not exist"),
        ("a/0.png", "not an image"),
        ("b", "not exist"),
    ):
        with pytest.raises(images.ImageError, match=f"gs://bucket/{path} .*{words}"):
            images.read(f"{bucket}/{path}") if "." in path else images.list_images(
                f"{bucket}/{path}"
            )
    with pytest.raises(images.ImageError, match="results are not written to gs://bucket/x.png"):
        images.write("gs://bucket/x.png", np.zeros((2, 2, 3)))


def test_a_workdir_in_a_bucket_has_steps_and_scores(bucket):
    for step, score in {1: 30.0, 2: 20.0}.items():
        folder = bucket / f"run/checkpoints/{step}"
        (folder / "commit_success.txt").write_text("")
        (folder / "metrics/metrics").write_text(f'{{"psnr_y": {score}}}')
    (bucket / "run/checkpoints/3/params/half").write_text("written")
    assert checkpoints.finished_steps(bucket / "run/checkpoints") == [1, 2]
    assert os.fspath(checkpoints.best(bucket / "run")) == "gs://bucket/run/checkpoints/1"


def test_weights_are_read_from_a_bucket(bucket):
    shipped = Path(checkpoints.__file__).parents[1] / "assets/sr_x4.npz"
    (bucket / "sr_x4.npz").write_bytes(shipped.read_bytes())
    found, expected = (checkpoints.load_model(path) for path in (bucket / "sr_x4.npz", shipped))
    assert found[0] == expected[0]
    np.testing.assert_array_equal(
        found[1]["level0"]["prior"]["bias"], expected[1]["level0"]["prior"]["bias"]
    )
    with pytest.raises(checkpoints.CheckpointError, match="gs://bucket/absent does not exist"):
        checkpoints.load_model("gs://bucket/absent")


def test_the_record_in_a_bucket_is_that_of_a_disk(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 12.5)
    for folder in (tmp_path, bucket):
        record = Record(folder / "log.jsonl", 0)
        for step in (1, 2, 3):
            record.write(step, {"nll": 0.5})
        record.close()
        record = Record(folder / "log.jsonl", 2)
        record.write(3, {"nll": 0.25})
        record.close()
    text = (bucket / "log.jsonl").read_text()
    assert text == (tmp_path / "log.jsonl").read_text() and text.count("\n") == 3


def test_a_bucket_has_no_locks(bucket):
    with locked(bucket / "run") as held:
        assert not held
