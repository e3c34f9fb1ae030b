"""Checkpoints: orbax directories, and published weights of the authors."""

from hcflow_jax.checkpoints.published import from_torch, parameter_count, to_published
from hcflow_jax.checkpoints.store import (
    CONFIG,
    EMA,
    MEASURED_ON,
    METRIC,
    PARAMS,
    PROGRESS,
    TRAINING,
    best,
    best_of_each_set,
    check_name,
    finished_steps,
    load_model,
    model_config,
    restore,
    save_model,
    score,
    scores,
    to_save,
    unbiased,
)
from hcflow_jax.checkpoints.weights import CheckpointError, read_weights
from hcflow_jax.errors import first_line

__all__ = [
    "CONFIG",
    "EMA",
    "MEASURED_ON",
    "METRIC",
    "PARAMS",
    "PROGRESS",
    "TRAINING",
    "CheckpointError",
    "best",
    "best_of_each_set",
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
    "scores",
    "to_published",
    "to_save",
    "unbiased",
]
