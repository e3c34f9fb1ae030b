"""Rescaling ×4. `--config=rescaling_x4[:VARIANT]`.

VARIANT: hcflow; jpeg, whose small pictures may be saved as JPEGs; tiny, smoke, jpeg-tiny,
jpeg-smoke: the same on a small network.
"""

from hcflow_jax.training import recipes


def get_config(variant: str = "hcflow"):
    """The locked config of a variant; UserError when it is unknown."""
    name, size = recipes.parse(variant, ("hcflow", "jpeg"))
    config = recipes.rescaling()
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
    if name == "jpeg":
        recipes.jpeg(config)
    if size:
        recipes.shrink(config, size)
    return config.lock()
