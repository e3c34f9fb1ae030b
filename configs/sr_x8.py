"""Super-resolution ×8 of faces. `--config=configs/sr_x8.py` or `configs/sr_x8.py:tiny`."""

import ml_collections

VARIANTS = ("hcflow", "tiny")


def get_config(variant: str = "hcflow") -> ml_collections.ConfigDict:
    """hcflow: the published network and recipe; tiny: a small one for a CPU."""
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
    config = ml_collections.ConfigDict()

    config.model = model = ml_collections.ConfigDict()
    model.task = "sr"
    model.steps = (26, 26, 26)
    model.conditional_steps = (13, 13, 13)
    model.hidden = 64
    model.conditional_hidden = 64
    model.blocks = (5, 5)
    model.features = 64
    model.growth = 32

    config.data = data = ml_collections.ConfigDict()
    data.path = ""
    data.patch_size = 160
    data.rotate = False

    config.train = train = ml_collections.ConfigDict()
    train.batch_size = 16
    train.steps = 350_000
    train.learning_rate = 2.5e-4
    train.halve_at = (200 / 350, 250 / 350, 280 / 350, 310 / 350, 340 / 350)
    train.quant = 256
    train.seed = 0
    train.log_every = 100
    train.save_every = 5000

    if variant == "tiny":
        model.steps = (8, 8, 8)
        model.conditional_steps = (4, 4, 4)
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
