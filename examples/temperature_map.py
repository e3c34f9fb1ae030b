"""A temperature for every place: still where the picture is smooth, lively where it has texture.

The map here is the local contrast of the small picture; any array or drawing will do, as for
`hcflow upscale --temperature-map`. The spread of samples follows it.

    python examples/temperature_map.py [PHOTO]      ->  temperature_map.png
"""

import numpy as np
from panels import enlarged, grey, photograph, save, shrunk

import hcflow_jax
from hcflow_jax import sampling
from hcflow_jax.images.resize import imresize

WARMEST, COUNT = 0.9, 6


def contrast(lr):
    """[h, w] in [0, 1]: the standard deviation around each pixel, smooth, its top tenth as 1."""
    luma = lr.mean(-1)
    mean, square = (imresize(imresize(x, 1 / 6), size=luma.shape) for x in (luma, np.square(luma)))
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    return np.clip(deviation / np.quantile(deviation, 0.9), 0, 1)


model, params = hcflow_jax.load()
lr = shrunk(photograph())
temperatures = WARMEST * contrast(lr)
samples = [sampling.sample(model, params, lr, temperatures, index=i) for i in range(COUNT)]
spread = np.std(samples, axis=0, ddof=1).mean(-1)

save(
    "temperature_map.png",
    [
        [
            ("the small picture", enlarged(lr)),
            (
                f"temperatures: 0 black, {WARMEST} white",
                grey(enlarged(temperatures[..., None])[..., 0] / WARMEST),
            ),
            ("a sample", samples[0]),
            (f"32 x spread of {COUNT} samples", grey(32 * spread)),
        ]
    ],
)
