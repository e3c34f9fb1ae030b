"""Rescaling ×4. `--config=configs/rescaling_x4.py[:VARIANT]`.

VARIANT: hcflow; tiny, smoke: the same on a small network.
"""

from hcflow_jax.training import defaults


def get_config(variant: str = "hcflow"):
    """The locked config of a variant; ValueError when it is unknown."""
    _, size = defaults.parse(variant, ("hcflow",))
    config = defaults.rescaling()
    model = config.model
    model.steps = (14, 14)
    model.conditional_steps = (6, 6)
    model.hidden = 32
    model.conditional_hidden = 64
    model.blocks = (2, 1)
    model.features = 64
    model.growth = 16
    config.train.steps = 500_000
    config.train.milestones = (0.2, 0.4, 0.6, 0.8, 0.9)
    if size:
        defaults.shrink(config, size)
    return config.lock()
