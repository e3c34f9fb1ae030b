"""The likelihood of a picture by a model, term by term."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from hcflow_jax import checkpoints
from hcflow_jax.images.resize import imresize
from hcflow_jax.model import HCFlow, dequantization
from hcflow_jax.model import likelihood as terms_of


@dataclasses.dataclass(frozen=True)
class Noise:
    """The dequantisation noise that pictures are scored with: of `kind`, 1/quant wide.

    `source` says why, for the user.
    """

    kind: str
    quant: int
    source: str

    def __str__(self):
        low_high = {"centred": "−½, ½", "published": "0, 1"}[self.kind]
        return f"U({low_high})/{self.quant} ({self.source})"


@dataclasses.dataclass(frozen=True)
class Term:
    """A term of the likelihood.

    Attributes:
      nats: its value; None of the constant that brings densities to the scale of 8 bits.
      bits_per_dim, nll: its share, in bits per value and bits per pixel, of either sum; None of a
        term that is no part of it.
      bits_per_latent: −log2 of the density per latent, of a level's prior.
    """

    nats: float | None = None
    bits_per_dim: float | None = None
    nll: float | None = None
    bits_per_latent: float | None = None


@dataclasses.dataclass(frozen=True)
class Score:
    """What `score` finds.

    Attributes:
      bits_per_dim, nll: of `model.likelihood`, in bits per value and bits per pixel.
      terms: {"log_det", "log_prior_0" (finest), …, "log_lr_raw", "levels", "log_lr",
        "dequantization": Term}; the shares of each column add up to its sum.
    """

    bits_per_dim: float
    nll: float
    terms: dict[str, Term]

    @property
    def finite(self) -> bool:
        """Whether the network's likelihood is a number."""
        return math.isfinite(self.bits_per_dim) and math.isfinite(self.nll)


def noise_of(model: HCFlow, checkpoint=None, quant: int | None = None) -> Noise:
    """The noise that a checkpoint was trained with, for `params` loaded with `as_trained`.

    Where it does not say: U(−½, ½)/q, with the q of the recipe of its scale. `quant` overrides q.
    """
    said = None if checkpoint is None else checkpoints.noise(checkpoint)
    if said:
        kind, found, source = *said, "as the checkpoint was trained"
    else:
        found = dequantization.recipe_quant(model.scale)
        kind, source = "centred", f"q of the ×{model.scale} recipe"
    return Noise(kind, quant or found, "--quant" if quant else source)


def noisy(picture: np.ndarray, noise: Noise | None, seed: int) -> np.ndarray:
    """uint8 [H, W, 3] -> float32 in [0, 1], with noise of `seed`."""
    hr = picture.astype(np.float32) / 255
    if noise is None:
        return hr
    key = jax.random.key(seed)
    return hr + np.asarray(
        dequantization.noise(noise.kind, key, hr.shape, jnp.float32, noise.quant)
    )


_likelihood = jax.jit(terms_of.likelihood, static_argnums=(0, 4))


def score(
    model: HCFlow,
    params,
    hr: np.ndarray,
    noise: Noise,
    lr: np.ndarray | None = None,
    seed: int = 0,
) -> Score:
    """The likelihood of one picture with noise of `seed`, computed whole: 1 kB per pixel.

    Args:
      hr: uint8 [H, W, 3], whose sides divide by the scale.
      lr: uint8 [h, w, 3]; MATLAB's bicubic of `hr`, rounded to 8 bits, when not given.
    """
    if lr is None:
        lr = imresize(hr, 1 / model.scale)
    hr, lr = noisy(hr, noise, seed), noisy(lr, None, seed)
    return _score(model, _likelihood(model, params, hr[None], lr[None], noise.quant))


def _score(model, terms):
    def term(value, in_bits=False, in_nll=False, latents=None):
        share = float(terms_of.share_in_bits(value, terms))
        values = terms.channels * terms.pixels
        return Term(
            float(value[0]),
            share if in_bits else None,
            terms.channels * share if in_nll else None,
            None if latents is None else share * values / latents,
        )

    lr_shape = (1, 1, terms.pixels // model.scale**2, model.image_channels)
    sizes = [math.prod(shape) for shape in model.latent_shapes(lr_shape)]
    levels = zip(terms.log_prior, sizes, strict=True)
    width = jnp.full(1, -terms.log_quant * terms.pixels)
    return Score(
        float(terms_of.bits_per_dim(terms)),
        float(terms_of.nll(terms)),
        {
            "log_det": term(terms.log_det, True, True),
            **{f"log_prior_{i}": term(x, True, True, size) for i, (x, size) in enumerate(levels)},
            "log_lr_raw": term(terms.log_lr_raw, True),
            "levels": Term(bits_per_dim=math.log2(255)),
            "log_lr": term(terms.log_lr, False, True),
            "dequantization": term(width, False, True),
        },
    )
