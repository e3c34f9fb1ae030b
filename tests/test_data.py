import numpy as np
import pytest
from PIL import Image

from hcflow_jax import images
from hcflow_jax.data import folder
from hcflow_jax.resize import imresize


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate([(33, 30), (24, 47)]):
        array = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(array).save(tmp_path / f"{i}.png")
    return tmp_path


def test_lr_is_the_matlab_bicubic_of_the_cropped_hr(photos):
    record = folder.FolderSource(photos, 4, 16)[0]
    assert record["hr"].shape == (32, 28, 3) and record["lr"].shape == (8, 7, 3)
    np.testing.assert_array_equal(record["lr"], imresize(record["hr"], 1 / 4))


def test_patches_are_aligned(photos):
    """Every LR patch stands, turned alike, where the HR patch was cut."""
    source = folder.FolderSource(photos, 4, 16)
    marked = {"lr": source[0]["lr"], "hr": np.kron(source[0]["lr"], np.ones((4, 4, 1), np.uint8))}
    transform, rng = folder.RandomPatch(16, 4, True), np.random.default_rng(0)
    seen = set()
    for _ in range(40):
        patch = transform.random_map(marked, rng)
        np.testing.assert_array_equal(patch["hr"][::4, ::4], patch["lr"])
        seen.add(patch["lr"].tobytes())
    assert patch["hr"].dtype == np.float32 and patch["hr"].max() <= 1
    assert len(seen) > 30


def test_batches_are_functions_of_seed_and_index(photos):
    one, two = (folder.patches(photos, 4, 16, True, 3, seed=5) for _ in range(2))
    other = folder.patches(photos, 4, 16, True, 3, seed=6)
    for i in (0, 7):
        assert one[i]["hr"].shape == (3, 16, 16, 3) and one[i]["lr"].shape == (3, 4, 4, 3)
        np.testing.assert_array_equal(one[i]["hr"], two[i]["hr"])
        assert np.any(one[i]["hr"] != other[i]["hr"])
    streamed = list(zip(range(4), iter(one[3:].to_iter_dataset()), strict=False))
    for i, batch in streamed:
        np.testing.assert_array_equal(batch["lr"], one[3 + i]["lr"])


def test_bad_folders_are_named(photos, tmp_path):
    with pytest.raises(ValueError, match="patch_size 18"):
        folder.FolderSource(photos, 4, 18)
    with pytest.raises(images.ImageError, match=r"1.png is 47×24.*patch_size 28"):
        folder.FolderSource(photos, 4, 28)
    with pytest.raises(images.ImageError, match="absent"):
        folder.FolderSource(tmp_path / "absent", 4, 16)
    (photos / "3.png").write_bytes(b"no image")
    with pytest.raises(images.ImageError, match="3.png"):
        folder.FolderSource(photos, 4, 16)
