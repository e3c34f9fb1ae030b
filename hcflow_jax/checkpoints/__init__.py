"""Checkpoints: orbax directories, and published weights of the authors."""

from hcflow_jax.checkpoints.published import from_torch, parameter_count, to_published
from hcflow_jax.checkpoints.store import (
    CONFIG,
    EMA,
    METRIC,
    PARAMS,
    PROGRESS,
    TRAINING,
    best,
    check_name,
    finished_steps,
    load_model,
    model_config,
    restore,
    save_model,
    score,
    to_save,
)
from hcflow_jax.checkpoints.weights import CheckpointError, read_weights
from hcflow_jax.errors import first_line

__all__ = [
    "CONFIG",
    "EMA",
    "METRIC",
    "PARAMS",
    "PROGRESS",
    "TRAINING",
    "CheckpointError",
    "best",
    "check_name",
    "finished_steps",
    "first_line",
    "from_torch",
    "load_model",
    "model_config",
    "parameter_count",
    "read_weights",
    "restore",
    "save_model",
    "score",
    "to_published",
    "to_save",
]
