"""Single pictures of any size through a model: what the command line does, as functions.

Pictures are numpy [H, W, 3] in [0, 1]; the arithmetic runs jitted, one compilation per size.
"""

from functools import partial
from importlib import resources
from pathlib import Path

import jax
import numpy as np

from hcflow_jax import checkpoint, images
from hcflow_jax.model import HCFlow

SHIPPED = {("sr", 4): "sr_x4.npz", ("rescaling", 4): "rescaling_x4.npz"}
"""Weights in the package, by task and scale."""


def load(path: str | Path | None, task: str, scale: int = 4) -> tuple[HCFlow, dict]:
    """(model, prepared params) of a checkpoint, or of the shipped weights when `path` is None.

    CheckpointError when it holds another task or scale, or when nothing fitting ships.
    """
    if path is None:
        if (task, scale) not in SHIPPED:
            raise checkpoint.CheckpointError(
                f"no {task} ×{scale} weights ship with hcflow; give some by --checkpoint"
            )
        with resources.as_file(resources.files("hcflow_jax") / "assets") as assets:
            model, params = checkpoint.load_model(assets / SHIPPED[task, scale])
    else:
        model, params = checkpoint.load_model(path)
    found = f"{model.task} ×{model.scale}"
    if (model.task, model.scale) != (task, scale):
        raise checkpoint.CheckpointError(f"{path} holds a {found} model, not {task} ×{scale}")
    if model.image_channels != 3:
        raise checkpoint.CheckpointError(f"{path} holds a model of grey images; colour is needed")
    return model, model.prepare(params)


@partial(jax.jit, static_argnums=0)
def _encode_lr(model, params, hr):
    return model.encode(params, hr).lr


@partial(jax.jit, static_argnums=0)
def _sample(model, params, rng, lr, temperature):
    return model.sample(params, rng, lr, temperature)


def downscale(model: HCFlow, params, hr: np.ndarray) -> np.ndarray:
    """The model's LR image, clamped: [H, W, 3] -> [⌈H/scale⌉, ⌈W/scale⌉, 3].

    Sides that do not divide are first extended by reflection.
    """
    padded = images.pad_reflect(hr, model.scale)
    return np.clip(np.asarray(_encode_lr(model, params, padded[None])[0]), 0, 1)


def sample(
    model: HCFlow, params, lr: np.ndarray, temperature: float, seed: int = 0, index: int = 0
) -> np.ndarray:
    """Sample number `index` of `seed`: [h, w, 3] -> [scale·h, scale·w, 3], clamped.

    The same picture, seed, index and temperature always give the same result.
    """
    rng = jax.random.fold_in(jax.random.key(seed), index)
    return np.asarray(_sample(model, params, rng, lr[None], temperature)[0])
