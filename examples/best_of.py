"""The best of many samples, by a judge of one's own.

Two judges: sharpness, and agreement with the small picture. Samples of the shipped weights hardly
differ, and neither do their scores. Any function of a picture is a judge, also, after
`pip install 'hcflow_jax[lpips]'`, the distance to a reference that LPIPS finds:

    from hcflow_jax.evaluation import lpips
    distance = lpips.load()
    sampling.best_of(samples, lambda x: distance(x[None], reference[None])[0], lowest=True)

    python examples/best_of.py [PHOTO]      ->  best_of.png
"""

import numpy as np
from panels import amplified, photograph, save, shrunk

import hcflow_jax
from hcflow_jax import sampling
from hcflow_jax.images.resize import imresize

TEMPERATURE, COUNT = 0.8, 8

model, params = hcflow_jax.load()
lr = shrunk(photograph())
samples = [sampling.sample(model, params, lr, TEMPERATURE, index=i) for i in range(COUNT)]


def sharpness(pixels):
    """Mean difference of neighbours, of 255."""
    return 255 * sum(np.abs(np.diff(pixels, axis=axis)).mean() for axis in (0, 1))


def disagreement(pixels):
    """Root mean square of shrink(pixels) − LR, of 255."""
    return 255 * np.sqrt(np.mean(np.square(imresize(pixels, 1 / 4) - lr)))


row = [("temperature 0", sampling.sample(model, params, lr, 0.0))]
for judge, lowest in ((sharpness, False), (disagreement, True)):
    best = sampling.best_of(samples, judge, lowest)
    scores = " ".join(f"{score:.2f}" for score in best.scores)
    word = "least" if lowest else "most"
    print(f"{judge.__name__} of samples 0 to {COUNT - 1}: {scores}; {word} in sample {best.number}")
    label = f"{word} {judge.__name__}: sample {best.number},\n{best.scores[best.number]:.2f} of 255"
    row.append((label, best.pixels))
row.append(("8 x (sharpest - temperature 0)", amplified(row[1][1], row[0][1])))
save("best_of.png", [row])
