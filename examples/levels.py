"""Levels in turn: structure from one sample, fine detail from another.

A ×4 flow has two levels of latents. Those of the coarse one belong to places of 4 × 4 pixels, those
of the fine one to places of 2 × 2. With one of them held, the other alone changes the picture.
Differences are shown times 8: samples of the shipped weights hardly differ.

    python examples/levels.py [PHOTO]      ->  levels.png
"""

from panels import amplified, photograph, save, shrunk

import hcflow_jax
from hcflow_jax import sampling

TEMPERATURE = 0.8

model, params = hcflow_jax.load()
lr = shrunk(photograph())
first = sampling.sample(model, params, lr, TEMPERATURE, index=0)


def change(fine, coarse):
    """What changes when levels come from these samples instead of sample 0."""
    found = sampling.mix_levels(model, params, lr, TEMPERATURE, indices=(fine, coarse))
    return amplified(found, first)


save(
    "levels.png",
    [
        [
            ("sample 0", first),
            ("8 x change: fine level\nof sample 1", change(1, 0)),
            ("8 x change: fine level\nof sample 2", change(2, 0)),
        ],
        [
            ("8 x change: both levels\nof sample 1", change(1, 1)),
            ("8 x change: coarse level\nof sample 1", change(0, 1)),
            ("8 x change: coarse level\nof sample 2", change(0, 2)),
        ],
    ],
)
