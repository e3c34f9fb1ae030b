"""The way from one sample to another: every picture on it is as likely as its ends.

Latents turn along a quarter of a circle, so that they stay N(0, τ²). The shipped weights are made
for temperature 0 and their samples hardly differ: below are differences from the first, times 8.

    python examples/interpolation.py [PHOTO]      ->  interpolation.png
"""

from panels import amplified, photograph, save, shrunk

import hcflow_jax
from hcflow_jax import sampling

TEMPERATURE = 0.8

model, params = hcflow_jax.load()
lr = shrunk(photograph())
weights = (0, 0.25, 0.5, 0.75, 1)
frames = [sampling.interpolate(model, params, lr, TEMPERATURE, w, indices=(0, 1)) for w in weights]

# the ends are the samples themselves, to the bit
assert (frames[0] == sampling.sample(model, params, lr, TEMPERATURE, index=0)).all()
assert (frames[-1] == sampling.sample(model, params, lr, TEMPERATURE, index=1)).all()

names = ("sample 0", "weight 0.25", "weight 0.5", "weight 0.75", "sample 1")
changes = ["8 x (it - sample 0)"] * len(frames)
save(
    "interpolation.png",
    [
        list(zip(names, frames, strict=True)),
        list(zip(changes, (amplified(frame, frames[0]) for frame in frames), strict=True)),
    ],
)
