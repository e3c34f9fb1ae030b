"""What several tests of sampling need."""

from importlib import resources

import pytest

from hcflow_jax import images


@pytest.fixture(scope="session")
def demo_photograph():
    """uint8 [192, 192, 3] of the photograph of `hcflow demo`, which is in no training set."""
    with resources.as_file(resources.files("hcflow_jax") / "assets/chelsea.png") as path:
        return images.read_uint8(path)[60:252, 90:282]
