"""Arrays in files: as those in memory, whatever is done with them."""

import numpy as np
import pytest
from PIL import Image

from hcflow_jax import cli
from hcflow_jax.errors import UserError
from hcflow_jax.images import scratch


def test_only_large_arrays_are_in_files(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "HELD", 1000)
    small, large = (scratch.empty((side, 5), np.uint16, tmp_path) for side in (100, 101))
    assert type(small) is np.ndarray and isinstance(large, np.memmap)
    assert large.shape == (101, 5) and large.dtype == np.uint16 and not list(tmp_path.iterdir())
    values = np.arange(505).reshape(101, 5)
    scratch.fill(large, values)
    for _ in range(2):
        scratch.release(large[20:30])
        np.testing.assert_array_equal(large, values)
    scratch.release(small)
    scratch.release(values)


def test_no_room_is_said_before_the_work(tmp_path):
    with pytest.raises(UserError, match="free space, or name a folder that has it by -o"):
        scratch.empty((2**50,), np.uint8, tmp_path)
    with pytest.raises(UserError, match="no room in .*gone"):
        scratch.empty((2**28,), np.uint8, tmp_path / "gone")


COMMANDS = {
    "whole": [],
    "shrunk": ["--scale", "2.5"],
    "warm": ["-t", "0.8", "-n", "2"],
    "region": ["-t", "0.8", "--region", "40,30,30,20"],
}


@pytest.mark.slow
@pytest.mark.parametrize("options", COMMANDS.values(), ids=COMMANDS)
def test_results_in_files_are_those_in_memory(tmp_path, monkeypatch, options):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (30, 28, 3), np.uint8)).save(tmp_path / "in.png")
    monkeypatch.chdir(tmp_path)
    for folder, held in ("memory", scratch.HELD), ("files", 1000):
        monkeypatch.setattr(scratch, "HELD", held)
        assert cli.main(["upscale", "in.png", "-o", f"{folder}/", *options]) == 0
    found = sorted((tmp_path / "files").iterdir())
    assert found
    for path in found:
        assert path.read_bytes() == (tmp_path / "memory" / path.name).read_bytes()
