"""Two small networks, ×2, as checkpoints, and an app that has them."""

import numpy as np
import pytest
from PIL import Image

from hcflow_jax.app.networks import Networks
from hcflow_jax.images.resize import imresize
from tests.app.serving import running
from tests.support import save_randomized
from tests.tiny import ONE_LEVEL


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """{task: path of a checkpoint}."""
    return save_randomized(ONE_LEVEL, tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def served(weights, tmp_path_factory):
    """(app, port, root); in the root are photos/1.png and photos/2.png, and empty/."""
    root = tmp_path_factory.mktemp("root")
    for name in ("photos", "empty"):
        (root / name).mkdir()
    rng = np.random.default_rng(0)
    for name in ("1", "2"):
        write_noise(root / f"photos/{name}.png", rng, (40, 48))
    with running(Networks(weights.values()), root=root) as (app, port):
        yield app, port, root


def write_noise(path, rng, size, channels=3):
    """A smooth PNG of that (height, width)."""
    small = rng.integers(0, 256, (-(-size[0] // 8), -(-size[1] // 8), channels), dtype=np.uint8)
    Image.fromarray(imresize(small, size=size)).save(path)
