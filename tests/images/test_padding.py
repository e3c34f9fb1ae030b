import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hcflow_jax import images


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 2, 4, 8, 16]))
def test_padding_divides_and_crops_back(height, width, multiple):
    image = np.random.default_rng(height * width).random((height, width, 3))
    padded = images.pad_reflect(image, multiple)
    assert padded.shape[0] % multiple == padded.shape[1] % multiple == 0
    assert padded.shape[0] - height < multiple and padded.shape[1] - width < multiple
    np.testing.assert_array_equal(padded[:height, :width], image)
