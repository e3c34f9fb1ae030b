"""Checkpoints: orbax directories, and published weights of the authors."""

from hcflow_jax.checkpoints.published import from_torch, parameter_count, to_published
from hcflow_jax.checkpoints.store import (
    CONFIG,
    EMA,
    METRIC,
    PARAMS,
    PROGRESS,
    TRAINING,
    CheckpointError,
    abstract,
    best,
    finished_steps,
    first_line,
    load_model,
    model_config,
    read_weights,
    save_model,
    score,
)

__all__ = [
    "CONFIG",
    "EMA",
    "METRIC",
    "PARAMS",
    "PROGRESS",
    "TRAINING",
    "CheckpointError",
    "abstract",
    "best",
    "finished_steps",
    "first_line",
    "from_torch",
    "load_model",
    "model_config",
    "parameter_count",
    "read_weights",
    "save_model",
    "score",
    "to_published",
]
