"""What a file keeps of values between its levels."""

import numpy as np
import pytest
from PIL import Image

from hcflow_jax import images


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_values_between_two_levels_go_to_the_nearer(tmp_path, suffix):
    levels = np.arange(255, dtype=np.float32).reshape(5, 51, 1) + np.array([0.3, 0.6, 0.9])
    images.write(tmp_path / f"a{suffix}", levels / 255, alpha=levels[..., 1] / 255)
    images.write(tmp_path / f"g{suffix}", levels / 255, grey=True)
    colour, grey = (np.asarray(Image.open(tmp_path / f"{name}{suffix}")) for name in "ag")
    below = np.arange(255).reshape(5, 51)
    np.testing.assert_array_equal(colour, np.stack([below, *3 * [below + 1]], -1))
    np.testing.assert_array_equal(grey, below + 1)
