"""Super-resolution ×4 of photographs. `--config=sr_x4[:VARIANT]`.

VARIANT: hcflow, plus, plusplus (HCFlow+ and HCFlow++, which start from a trained hcflow, named by
--config.init_from); tiny, smoke, plus-tiny, plus-smoke, …: the same on a small network.

A recipe of one's own is such a file, named by --config=FILE.py[:VARIANT], with a function
`get_config(variant)`, or `get_config()`, that returns an ml_collections config: `recipes.sr()` or
`recipes.rescaling()` has every field at its default (`hcflow train --help` lists them), of which it
sets some. `recipes.plus` and `recipes.shrink` turn that into HCFlow+ and small networks,
`recipes.parse` reads variants such as "plus-tiny"; none of them is needed. `lock()` refuses fields
that there are not.
"""

from hcflow_jax.training import recipes


def get_config(variant: str = "hcflow"):
    """The locked config of a variant; UserError when it is unknown."""
    name, size = recipes.parse(variant, ("hcflow", "plus", "plusplus"))
    config = recipes.sr()
    config.model.steps = (26, 26)
    config.model.conditional_steps = (13, 13)
    config.model.blocks = (7, 7)
    config.train.steps = 300_000
    config.train.milestones = (0.5, 0.75, 0.9, 0.95)
    if name != "hcflow":
        recipes.plus(config, name)
    if size:
        recipes.shrink(config, size)
    return config.lock()
