"""One part of a picture drawn anew, and every pixel beyond its surroundings left as it was.

As `hcflow upscale --region x,y,w,h` does. Differences are shown times 8.

    python examples/region.py [PHOTO]      ->  region.png
"""

import numpy as np
from panels import amplified, boxed, photograph, save, shrunk

import hcflow_jax
from hcflow_jax import sampling

TEMPERATURE = 0.8
REGION = (4, 60, 76, 56)  # x, y, width and height in pixels of the result

model, params = hcflow_jax.load()
lr = shrunk(photograph())
old = sampling.sample(model, params, lr, TEMPERATURE)
versions = [
    sampling.resample(model, params, lr, TEMPERATURE, REGION, index=index) for index in (1, 2)
]

x, y, width, height = REGION
beyond = np.ones(old.shape[:2], bool)
beyond[max(y - 96, 0) : y + height + 96, max(x - 96, 0) : x + width + 96] = False
for index, new in enumerate(versions, 1):
    changed = np.argwhere((new != old).any(-1))
    assert (new[beyond] == old[beyond]).all()
    (top, left), (bottom, right) = changed.min(0), changed.max(0)
    print(f"version {index} differs in columns {left} to {right} and rows {top} to {bottom};")
    print(f"all {beyond.sum()} pixels farther than 96 from the region are the same")

row = [("a sample, and the region", boxed(old, *REGION))]
for index, new in enumerate(versions, 1):
    row.append((f"region of sample {index}", boxed(new, *REGION)))
    row.append(("8 x change", boxed(amplified(new, old), *REGION)))
save("region.png", [row])
