"""What is kept of an evaluation."""

import json
import os

import numpy as np
import pytest

from hcflow_jax import images
from hcflow_jax.errors import UserError
from hcflow_jax.evaluation.kept import Kept

PIXELS = {"": np.zeros((4, 5, 3), np.uint8), "spread": np.ones((4, 5), np.uint8)}


def test_figures_come_back_under_their_key_alone(tmp_path):
    kept = Kept(tmp_path / "new")
    assert kept.figures("a.png", "m", "1") is None
    kept.put("a.png", "m", "1", {"psnr": 1.25}, PIXELS)
    assert kept.figures("a.png", "m", "1") == {"psnr": 1.25}
    assert kept.figures("a.png", "m", "2") is None
    np.testing.assert_array_equal(images.read_uint8(kept.path("a.png", "m")), PIXELS[""])
    assert images.read_uint8(kept.path("a.png", "m", "spread")).max() == 1


@pytest.mark.parametrize("harm", ["lost", "empty", "no figures", "a list"])
def test_what_is_damaged_counts_as_missing(tmp_path, harm):
    kept = Kept(tmp_path)
    kept.put("a.png", "m", "1", {"psnr": 1.0}, PIXELS)
    if harm == "lost":
        os.unlink(kept.path("a.png", "m", "spread"))
    elif harm == "empty":
        kept.path("a.png", "m").write_bytes(b"")
    else:
        text = json.dumps([] if harm == "a list" else {"key": "1", "pictures": [], "figures": 1})
        (tmp_path / "a.png/m.json").write_text(text)
    assert kept.figures("a.png", "m", "1") is None


def test_a_key_never_vouches_for_pictures_of_another(tmp_path, monkeypatch):
    kept = Kept(tmp_path)
    kept.put("a.png", "m", "1", {"psnr": 1.0}, PIXELS)
    write, written = images.write_beside, []

    def stop_after_the_first(path, save):
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write(path, save)

    monkeypatch.setattr(images, "write_beside", stop_after_the_first)
    with pytest.raises(KeyboardInterrupt):
        kept.put("a.png", "m", "2", {"psnr": 2.0}, {k: v + 9 for k, v in PIXELS.items()})
    assert images.read_uint8(kept.path("a.png", "m")).max() == 9
    assert kept.figures("a.png", "m", "1") is None and kept.figures("a.png", "m", "2") is None


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "a.png").write_text("")
    with pytest.raises(UserError, match="cannot write to .*a.png"):
        Kept(tmp_path).put("a.png", "m", "1", {}, {})


def test_a_picture_that_was_changed_is_not_trusted(tmp_path):
    kept = Kept(tmp_path)
    kept.put("a.png", "sr", "key", {"psnr": 1.0}, {"": np.zeros((40, 40, 3), np.uint8)})
    assert kept.figures("a.png", "sr", "key") == {"psnr": 1}
    path = kept.path("a.png", "sr")
    path.write_bytes(path.read_bytes()[:-20])
    assert kept.figures("a.png", "sr", "key") is None
