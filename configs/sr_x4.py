"""Super-resolution ×4. `--config=configs/sr_x4.py` or `configs/sr_x4.py:tiny`."""

import ml_collections

VARIANTS = ("hcflow", "tiny")


def get_config(variant: str = "hcflow") -> ml_collections.ConfigDict:
    """hcflow: the published network and recipe; tiny: the small weights that ship with it."""
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
    config = ml_collections.ConfigDict()

    config.model = model = ml_collections.ConfigDict()
    model.task = "sr"
    model.steps = (26, 26)
    model.conditional_steps = (13, 13)
    model.hidden = 64
    model.conditional_hidden = 64
    model.blocks = (7, 7)
    model.features = 64
    model.growth = 32

    config.data = data = ml_collections.ConfigDict()
    data.path = ""
    data.patch_size = 160
    data.rotate = True

    config.train = train = ml_collections.ConfigDict()
    train.batch_size = 16
    train.steps = 300_000
    train.learning_rate = 2.5e-4
    train.halve_at = (0.5, 0.75, 0.9, 0.95)
    train.quant = 64
    train.seed = 0
    train.log_every = 100
    train.save_every = 5000

    if variant == "tiny":
        model.steps = (8, 8)
        model.conditional_steps = (4, 4)
        model.hidden = 24
        model.conditional_hidden = 24
        model.blocks = (1, 1)
        model.features = 24
        model.growth = 12
        data.patch_size = 64
        train.batch_size = 8
        train.steps = 9_000
        train.learning_rate = 5e-4
        train.save_every = 500
    return config.lock()
