"""The figures that papers on super-resolution and rescaling print, of 8-bit images.

One place for all who print them: validation during training, `hcflow evaluate`, the studies.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image

from hcflow_jax.evaluation.lpips import LPIPS
from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize

PSNR_CEILING = 100.0
"""dB that a PSNR counts at most, so that an exact image leaves means finite."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """How a figure is printed: its title, unit, decimals, and whether higher is better."""

    title: str
    unit: str
    decimals: int
    higher: bool | None


FIGURES = {
    "psnr_y": Figure("PSNR-Y", "dB", 2, True),
    "ssim_y": Figure("SSIM-Y", "", 4, True),
    "psnr": Figure("PSNR", "dB", 2, True),
    "ssim": Figure("SSIM", "", 4, True),
    "lpips": Figure("LPIPS", "", 3, False),
    "lr_psnr": Figure("LR-PSNR", "dB", 2, True),
    "lr_ssim": Figure("LR-SSIM", "", 4, True),
    "lr_psnr_y": Figure("LR-PSNR-Y", "dB", 2, True),
    "lr_ssim_y": Figure("LR-SSIM-Y", "", 4, True),
    "diversity": Figure("Diversity", "of 255", 2, None),
    "space_diversity": Figure("SR-space diversity", "%", 1, True),
}
"""What `fidelity` and `diversity` return, by name, in the order of tables."""


def similarity(a: np.ndarray, b: np.ndarray, border: int = 0) -> dict[str, float]:
    """{"psnr", "ssim", "psnr_y", "ssim_y"} of two uint8 RGB images; dB at most PSNR_CEILING.

    ValueError where shapes differ, or the border leaves less than SSIM's window.
    """
    return {
        "psnr": min(metrics.psnr(a, b, border), PSNR_CEILING),
        "ssim": metrics.ssim(a, b, border),
        "psnr_y": min(metrics.psnr_y(a, b, border), PSNR_CEILING),
        "ssim_y": metrics.ssim_y(a, b, border),
    }


def fidelity(
    result: np.ndarray, hr: np.ndarray, lr: np.ndarray, scale: int, lpips: LPIPS | None = None
) -> dict[str, float]:
    """The figures of one result, by the protocol of super-resolution papers.

    "psnr", "ssim" (RGB), "psnr_y", "ssim_y" (luma) against `hr` without a border of `scale`
    pixels; "lr_psnr", "lr_ssim", "lr_psnr_y", "lr_ssim_y" of the result's MATLAB-bicubic LR
    against `lr`, whole; and, with `lpips`, "lpips" of the whole images. dB count PSNR_CEILING at
    most. SSIM of LR images smaller than its window is left out.

    Args:
      result, hr: uint8 [H, W, 3]; lr: uint8 [H/scale, W/scale, 3], what the result was made of.

    ValueError where shapes do not fit, or images are too small to be measured.
    """
    figures = similarity(result, hr, scale) | of_lr(imresize(result, 1 / scale), lr)
    if lpips is not None:
        figures["lpips"] = float(lpips(result[None], hr[None])[0])
    return figures


def of_lr(result: np.ndarray, lr: np.ndarray) -> dict[str, float]:
    """ "lr_psnr", "lr_ssim", "lr_psnr_y", "lr_ssim_y" of two uint8 LR images, whole.

    SSIM of images smaller than its window is left out.
    """
    if min(lr.shape[:2]) >= metrics.SSIM_WINDOW:
        found = similarity(result, lr)
    else:
        psnr, psnr_y = metrics.psnr(result, lr), metrics.psnr_y(result, lr, 0)
        found = {"psnr": min(psnr, PSNR_CEILING), "psnr_y": min(psnr_y, PSNR_CEILING)}
    return {f"lr_{name}": value for name, value in found.items()}


def diversity(
    samples: Sequence[np.ndarray], hr: np.ndarray, lpips: LPIPS | None = None
) -> dict[str, float]:
    """How much samples of one LR image differ.

    "diversity": unbiased standard deviation over samples, per value on the 0–255 scale, averaged.
    "space_diversity", with `lpips`: 100·(best mean − mean of bests) / best mean of the LPIPS maps
    of N samples against `hr`, where the mean is over pixels, "best mean" the least mean of a
    sample, and "mean of bests" that of the least value at every pixel. The challenge draws N = 10
    samples. (Lugmayr et al. 2021, "NTIRE 2021 Learning the Super-Resolution Space Challenge",
    section 3.)

    Args:
      samples: N ≥ 2 uint8 images [H, W, 3], the shape of `hr`.
    """
    if len(samples) < 2:
        raise ValueError(f"diversity is that of several samples, got {len(samples)}")
    found = {"diversity": metrics.diversity(samples)}
    if lpips is not None:
        maps = np.stack([np.asarray(lpips.map(x[None], hr[None])[0], np.float64) for x in samples])
        best = maps.mean((1, 2)).min()
        gain = best - maps.min(0).mean()
        found["space_diversity"] = float(100 * gain / best) if best else 0.0
    return found


def measure(
    samples: Sequence[np.ndarray],
    hr: np.ndarray,
    lr: np.ndarray,
    scale: int,
    lpips: LPIPS | None = None,
) -> dict[str, float]:
    """`fidelity`, averaged over the samples of one LR image, and of several their `diversity`."""
    found = mean([fidelity(x, hr, lr, scale, lpips) for x in samples])
    return found | (diversity(samples, hr, lpips) if len(samples) > 1 else {})


def interpolated(lr: np.ndarray, scale: int) -> dict[str, np.ndarray]:
    """{"bicubic": MATLAB's, "lanczos": Pillow's}: uint8 enlargements of a uint8 LR image."""
    size = (scale * lr.shape[1], scale * lr.shape[0])
    lanczos = Image.fromarray(lr).resize(size, Image.Resampling.LANCZOS)
    return {"bicubic": imresize(lr, scale), "lanczos": np.asarray(lanczos)}


def mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each figure over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
