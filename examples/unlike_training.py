"""Pictures unlike photographs, found by the energy of their latents, and where they are so.

Energy is the mean square of the latents of a place: detail that the small picture did not announce.
Lettering and noise have more than photographs, blurred and flat pictures less; the score is the
distance to three more parts of the photograph. Latents of the shipped rescaling weights.

    python examples/unlike_training.py [PHOTO]      ->  unlike_training.png
"""

import numpy as np
from panels import grey, photograph, save
from PIL import Image, ImageDraw

import hcflow_jax
from hcflow_jax import sampling
from hcflow_jax.images.resize import imresize

SIDE = 128
model, params = hcflow_jax.load(task="rescaling")


def energy(pixels):
    """[h, w], for each LR pixel."""
    return sampling.latent_energy(model, params, np.asarray(pixels, np.float32))


def lettering():
    """A page of text."""
    page = Image.new("RGB", (SIDE, SIDE), "white")
    for y in range(0, SIDE, 14):
        ImageDraw.Draw(page).text((3, y), "The quick brown fox jumps", fill="black")
    return np.asarray(page, np.float32) / 255


photo, rng = photograph(130, 130, SIDE), np.random.default_rng(0)
candidates = {
    "photograph": photo,
    "another part": photograph(0, 172, SIDE),
    "blurred": np.clip(imresize(imresize(photo, 1 / 6), size=photo.shape[:2]), 0, 1),
    "with noise": np.clip(photo + rng.normal(0, 0.1, photo.shape), 0, 1),
    "lettering": lettering(),
    "noise": rng.random((SIDE, SIDE, 3)),
    "flat": np.full((SIDE, SIDE, 3), 0.5),
}
familiar = [energy(photograph(left, 0, SIDE)) for left in (0, 128, 256)]
maps = {name: energy(pixels) for name, pixels in candidates.items()}
scores = {name: sampling.unlikeness(found, familiar) for name, found in maps.items()}
ranked = sorted(scores, key=scores.get)
for name in ranked:
    print(f"{scores[name]:5.2f}  {name}, mean energy {maps[name].mean():.3g}")

pictures = [(f"{scores[name]:.2f}  {name}", candidates[name]) for name in ranked]
energies = [
    (
        f"energy {maps[name].mean():.3g}",
        grey((3 + np.log10(np.kron(maps[name], np.ones((4, 4))))) / 6),
    )
    for name in ranked
]  # black 0.001, white 1,000
save("unlike_training.png", [pictures, energies])
