"""Rescaling ×4. `--config=configs/rescaling_x4.py` or `configs/rescaling_x4.py:tiny`."""

import ml_collections

VARIANTS = ("hcflow", "tiny")


def get_config(variant: str = "hcflow") -> ml_collections.ConfigDict:
    """hcflow: the published network and recipe; tiny: the small weights that ship with it."""
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
    config = ml_collections.ConfigDict()

    config.model = model = ml_collections.ConfigDict()
    model.task = "rescaling"
    model.steps = (14, 14)
    model.conditional_steps = (6, 6)
    model.hidden = 32
    model.conditional_hidden = 64
    model.blocks = (2, 1)
    model.features = 64
    model.growth = 16
    model.squeeze = "haar"
    model.coupling = "shift"
    model.permutation = "none"
    model.net = "dense_block"

    config.data = data = ml_collections.ConfigDict()
    data.path = ""
    data.patch_size = 160
    data.rotate = True

    config.train = train = ml_collections.ConfigDict()
    train.batch_size = 16
    train.steps = 500_000
    train.learning_rate = 2.5e-4
    train.halve_at = (0.2, 0.4, 0.6, 0.8, 0.9)
    train.seed = 0
    train.log_every = 100
    train.save_every = 5000

    if variant == "tiny":
        model.steps = (8, 8)
        model.conditional_steps = (2, 2)
        model.hidden = 8
        model.conditional_hidden = 16
        model.blocks = (1, 1)
        model.features = 16
        model.growth = 8
        data.patch_size = 48
        train.batch_size = 8
        train.steps = 12_000
        train.learning_rate = 5e-4
        train.save_every = 500
    return config.lock()
