"""The state before the first step."""

import functools

import jax
import numpy as np

from hcflow_jax import checkpoints, devices
from hcflow_jax.training import config as configuration
from hcflow_jax.training import memory, objectives, seeds, steps
from hcflow_jax.training.config import Config


def start_key(config: Config) -> jax.Array:
    """The key of all random numbers in iterations."""
    return seeds.key(config.train.seed, "iterations")


def _initial_params(config, batch):
    """Initial parameters: those of `init_from`, or new ones with ActNorms set from the batch."""
    model = config.model
    if config.init_from:
        published = getattr(config.loss, "dequantization", "") == "published"
        initial_model, params = checkpoints.load_model(config.init_from, as_trained=published)
        configuration.check_same_model(initial_model, model, config.init_from)
        return jax.tree.map(np.asarray, params)
    key = seeds.key(config.train.seed, "parameters")
    init_params = memory.quickly_compiled(jax.jit(model.init_params).lower(key))
    spread = devices.spread(config.train.parallel)
    params = spread.replicate(init_params(key))
    noise_key = jax.random.fold_in(start_key(config), 0)  # that of the first iteration
    first_row = jax.process_index() * len(batch["hr"])
    noisy = jax.jit(functools.partial(objectives.draw_noise, config))(noise_key, batch, first_row)
    hr = batch["hr"] + np.asarray(noisy.get("dequantization", 0), batch["hr"].dtype)
    init = spread.mapped(functools.partial(model.data_init, axis_name=devices.AXIS))
    fitted = init(params, spread.stacked(hr))
    return jax.tree.map(lambda x: devices.local_shards(x)[0], fitted)


def initial_state(config: Config, batch) -> steps.TrainState:
    """The state before the first step, as numpy arrays; `batch` is this process's first one."""
    params = _initial_params(config, batch)
    key = seeds.key(config.train.seed, "discriminator")
    return jax.tree.map(np.asarray, steps.create_state(config, params, key, config.data.patch_size))
