"""What is trained: networks, patches, learning rates and objectives, by name."""

import dataclasses

from hcflow_jax import HCFlow, build_model

RESCALING = {
    "task": "rescaling",
    "squeeze": "haar",
    "coupling": "shift",
    "permutation": "none",
    "net": "dense_block",
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A training.

    Args:
      model: of either task.
      iterations: over which the learning rate falls to zero, as a cosine.
      rate: the highest learning rate.
      warmup: iterations over which it rises.
      batch, patch: patches of an iteration, and their side.
      pixel, nll, perceptual: weights of the SR objectives, L1 at latents 0, −log2 p per pixel, and
        VGG16's LPIPS at `temperature`.
      checkerboard: weight of `objectives.checkerboard` of the images that these two decode.
      strange: weight of `objectives.bounds` of four LR images per iteration that no photograph has;
        the guard of the weights that it starts from stays.
      restored, luma, small, latents: weights of the rescaling objectives: L1 of what latents 0
        restore, in RGB and in luma, squared error of the LR image, squared latents.
      small_error: squared error of the LR image, which `small` is steered after within [0.3, 8],
        from its own value on in every slice; 0: it stays.
      jpeg: share of the small pictures that are JPEGs, every other one of halved chroma.
      qualities: the least, and the first above the highest, of those JPEGs.
      quant: q of the dequantisation noise U(−½, ½)/q.
      ema: decay of the average of the parameters.
      optimizer: "adam", or "muon" for the kernels of convolutions and Adam for the rest.
    """

    model: HCFlow
    iterations: int = 20_000
    rate: float = 5e-4
    warmup: int = 200
    batch: int = 8
    patch: int = 64
    pixel: float = 1.0
    nll: float = 0.0
    perceptual: float = 0.0
    temperature: float = 0.8
    checkerboard: float = 0.0
    strange: float = 0.0
    restored: float = 1.0
    luma: float = 0.0
    small: float = 0.05
    small_error: float = 0.0
    latents: float = 1e-5
    jpeg: float = 0.0
    qualities: tuple[int, int] = (50, 96)
    quant: int = 64
    ema: float = 0.999
    optimizer: str = "adam"


def _sr(**fields):
    return build_model({"task": "sr", **fields})


def _rescaling(**fields):
    return build_model({**RESCALING, **fields})


RECIPES = {
    # the networks that shipped first
    "sr_x4_first": Recipe(
        _sr(
            steps=(8, 8),
            conditional_steps=(4, 4),
            hidden=24,
            conditional_hidden=24,
            blocks=(1, 1),
            features=24,
            growth=12,
        )
    ),
    "rescaling_x4_first": Recipe(
        _rescaling(
            steps=(8, 8),
            conditional_steps=(2, 2),
            hidden=8,
            conditional_hidden=16,
            blocks=(1, 1),
            features=16,
            growth=8,
        )
    ),
    # the same, deeper where the image is small: it starts from them (--init)
    "sr_x4_deep": Recipe(
        _sr(
            steps=(8, 8),
            conditional_steps=(4, 4),
            hidden=24,
            conditional_hidden=24,
            blocks=((1, 1), (3, 3)),
            features=24,
            growth=12,
        )
    ),
    "rescaling_x4_deep": Recipe(
        _rescaling(
            steps=(8, 8),
            conditional_steps=(2, 2),
            hidden=8,
            conditional_hidden=16,
            blocks=((2, 2), (3, 3)),
            features=16,
            growth=8,
        )
    ),
    # wide where the image is small, from scratch
    "sr_x4_wide": Recipe(
        _sr(
            steps=(4, 6),
            conditional_steps=(2, 2),
            hidden=(24, 32),
            conditional_hidden=(16, 32),
            blocks=((1, 1), (2, 2)),
            features=(16, 48),
            growth=(8, 24),
        )
    ),
    "sr_x4_wide8": Recipe(
        _sr(
            steps=(6, 8),
            conditional_steps=(3, 4),
            hidden=(24, 48),
            conditional_hidden=(24, 48),
            blocks=((1, 1), (4, 4)),
            features=(24, 48),
            growth=(12, 24),
        )
    ),
    "rescaling_x4_wide": Recipe(
        _rescaling(
            steps=(10, 10),
            conditional_steps=(2, 2),
            hidden=(12, 24),
            conditional_hidden=(16, 32),
            blocks=((1, 1), (2, 2)),
            features=(16, 48),
            growth=(8, 24),
        )
    ),
    # for latents 0 alone: the prior's mean, no conditional steps
    "rescaling_x4_mean": Recipe(
        _rescaling(
            steps=(8, 10),
            conditional_steps=(0, 0),
            hidden=(16, 40),
            blocks=((1, 1), (1, 2)),
            features=(16, 48),
            growth=(8, 24),
        )
    ),
    # wide, from a mean of the LR image on: the wavelet's first channels are the LR image
    "sr_x4_mean": Recipe(
        _sr(
            squeeze="haar",
            permutation="none",
            net="dense_block",
            steps=(4, 6),
            conditional_steps=(0, 0),
            hidden=(16, 40),
            blocks=((1, 1), (2, 2)),
            features=(16, 48),
            growth=(8, 24),
        ),
        optimizer="muon",
    ),
    # as wide, deeper where the image is small
    "sr_x4_wide3": Recipe(
        _sr(
            steps=(4, 6),
            conditional_steps=(2, 2),
            hidden=(24, 32),
            conditional_hidden=(16, 32),
            blocks=((1, 1), (3, 3)),
            features=(16, 48),
            growth=(8, 24),
        ),
        rate=1e-3,
        optimizer="muon",
    ),
    "sr_x2": Recipe(
        _sr(
            steps=(6,),
            conditional_steps=(3,),
            hidden=24,
            conditional_hidden=24,
            blocks=(1, 3),
            features=32,
            growth=16,
        ),
        rate=1e-3,
        nll=0.002,
        optimizer="muon",
    ),
    "rescaling_x2": Recipe(
        _rescaling(
            steps=(10,),
            conditional_steps=(0,),
            hidden=24,
            blocks=(1, 2),
            features=32,
            growth=16,
        ),
        rate=1e-3,
        warmup=500,
        small=1.0,
        latents=0.0,
        optimizer="muon",
    ),
    "sr_x8": Recipe(
        _sr(
            steps=(4, 6, 6),
            conditional_steps=(2, 2, 2),
            hidden=(16, 24, 40),
            conditional_hidden=(16, 24, 40),
            blocks=((1, 1), (1, 1), (2, 3)),
            features=(16, 24, 48),
            growth=(8, 12, 24),
        ),
        rate=1e-3,
        patch=128,
        batch=4,
        optimizer="muon",
    ),
}
