"""The state before the first step."""

import jax
import numpy as np

from hcflow_jax.training import objectives
from hcflow_jax.training.initial import initial_state, start_key
from tests.command import config, recipe


def test_actnorms_fit_images_with_the_noise_of_the_first_iteration():
    """On a flat image they are the noise's alone."""
    found = config("sr_x4", "smoke")
    found.model.update({"steps": (2,), "conditional_steps": (1,)})
    found.data.patch_size = 16
    parsed = recipe(found)
    batch = {
        "hr": np.full((4, 16, 16, 3), 0.5, np.float32),
        "lr": np.full((4, 8, 8, 3), 0.5, np.float32),
    }
    params = initial_state(parsed, batch).model.params
    key = jax.random.fold_in(start_key(parsed), 0)
    noise = objectives.draw_noise(parsed, key, batch)["dequantization"]
    blocks = np.asarray(noise).reshape(4, 8, 2, 8, 2, 3).transpose(5, 2, 4, 0, 1, 3).reshape(12, -1)
    first = jax.tree.map(lambda x: x[0], params["level0"]["flow"]["turns"]["affine"]["actnorm"])
    np.testing.assert_allclose(-first["logs"], np.log(blocks.std(1)), rtol=1e-3)
    np.testing.assert_allclose(-first["bias"], 0.5 + blocks.mean(1), rtol=1e-3)
