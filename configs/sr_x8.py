"""Super-resolution ×8 of faces. `--config=sr_x8[:VARIANT]`.

VARIANT: hcflow, plus, plusplus (HCFlow+ and HCFlow++, which start from a trained hcflow, named by
--config.init_from); tiny, smoke, plus-tiny, plus-smoke, …: the same on a small network.
"""

from hcflow_jax.training import recipes


def get_config(variant: str = "hcflow"):
    """The locked config of a variant; UserError when it is unknown."""
    name, size = recipes.parse(variant, ("hcflow", "plus", "plusplus"))
    config = recipes.sr()
    config.model.steps = (26, 26, 26)
    config.model.conditional_steps = (13, 13, 13)
    config.model.blocks = (5, 5)
    config.data.rotate = False
    config.loss.quant = 256
    config.loss.temperature = 0.8
    config.valid.temperatures = (0.0, 0.8)
    config.train.steps = 350_000
    config.train.milestones = tuple(k / 350 for k in (200, 250, 280, 310, 340))
    if name != "hcflow":
        recipes.plus(config, name)
    if size:
        recipes.shrink(config, size)
    return config.lock()
