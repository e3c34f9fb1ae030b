"""What a user can mend is one line; what is a bug keeps its traceback."""

import threading
import warnings

import pytest
from PIL import Image

from hcflow_jax import cli, errors, images, sampling
from tests.tiny import SR


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (8, 8)).save(path)
    return path


@pytest.mark.parametrize(
    "error", [ValueError("shapes differ"), KeyError("x"), FileNotFoundError(2, "No such file")]
)
def test_a_bug_is_called_one_and_shows_where(photo, monkeypatch, capsys, error):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr(sampling, "load", broken)
    with pytest.raises(type(error)) as caught:
        cli.main(["upscale", str(photo)])
    assert "bug in hcflow" in caught.value.__notes__[0]
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    "error, words",
    [
        (errors.UserError("a.png\nis empty;  export it again"), "a.png is empty; export it again"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (MemoryError(), "out of memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: 7 GB"), "out of memory"),
    ],
)
def test_what_can_be_mended_is_one_line(photo, monkeypatch, capsys, error, words):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(sampling, "load", refuse)
    assert cli.main(["upscale", str(photo)]) == 2
    line = capsys.readouterr().err
    assert line.startswith("hcflow: ") and line.count("\n") == 1 and words in line


def test_a_missing_extra_is_named():
    words = r"needs grain; pip install 'hcflow_jax\[train\]'"
    with pytest.raises(errors.UserError, match=words), errors.needing("train"):
        raise ModuleNotFoundError("No module named 'grain'", name="grain.experimental")


@pytest.mark.parametrize("name", ["fcntl", "hcflow_jax.zap", None])
def test_other_modules_are_no_extra(name):
    with pytest.raises(ModuleNotFoundError), errors.needing("train"):
        raise ModuleNotFoundError("gone", name=name)


def test_reading_in_threads_leaves_the_filters_of_warnings_alone(photo):
    before = list(warnings.filters)
    threads = [threading.Thread(target=images.read, args=(photo,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


def test_a_bug_while_converting_is_no_trouble_with_the_disk(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ValueError("shapes differ")

    monkeypatch.setattr("hcflow_jax.checkpoints.load_model", lambda *_, **__: (SR, {}))
    monkeypatch.setattr("hcflow_jax.checkpoints.published.to_published", broken)
    with pytest.raises(ValueError, match="^shapes differ"):
        cli.main(["convert", "c", "-o", str(tmp_path / "w.npz")])


@pytest.mark.parametrize(
    "text, line",
    [
        ("a\x1b[31m\x9b.png", "a\\x1b[31m\\x9b.png"),
        ("two\nlines\r\n\tand\u2028more", "two lines and more"),
        ("gnp.\u202eexe", "gnp.\\u202eexe"),
        ("\udce9t\u00e9 日本.png", "\\udce9té 日本.png"),
        ("9" * 5000, "9" * 1333 + "…" + "9" * 666),
    ],
)
def test_whatever_is_shown_is_one_harmless_line(text, line):
    assert errors.shown(text) == str(errors.UserError(text)) == line
    assert errors.shown(line) == line


def test_a_remedy_survives_a_long_name():
    said = str(errors.UserError(f"{'x' * 4000} is empty; export it again"))
    assert len(said) == errors.LINE and said.endswith("is empty; export it again")
    assert errors.shown("123456789", 4) == "12…9"
