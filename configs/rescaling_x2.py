"""Rescaling ×2. `--config=rescaling_x2[:VARIANT]`.

The first level of rescaling_x4, with its variants: hcflow, jpeg; tiny, smoke, jpeg-tiny and
jpeg-smoke.
"""

from hcflow_jax.training import recipes


def get_config(variant: str = "hcflow"):
    """The locked config of a variant; UserError when it is unknown."""
    config = recipes.load(f"rescaling_x4:{variant}").unlock()
    model = config.model
    model.steps, model.conditional_steps = model.steps[:1], model.conditional_steps[:1]
    return config.lock()
