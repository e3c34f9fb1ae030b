"""Image quality, by the protocol of super-resolution papers: 8 bits, border cropped."""

from collections.abc import Sequence

import numpy as np

SSIM_WINDOW = 11
"""Side of SSIM's Gaussian window, in pixels: the least that an image must have without border."""


LUMA = np.array([65.481, 128.553, 24.966])
"""Of R, G and B in [0, 1] in the luma of BT.601, [16, 235]."""


def to_uint8(image: np.ndarray) -> np.ndarray:
    """⌊255·clamp(x, 0, 1) + ½⌋: what an 8-bit file keeps of an image in [0, 1]."""
    return np.floor(255 * np.clip(image, 0, 1) + 0.5).astype(np.uint8)


def luma(image: np.ndarray) -> np.ndarray:
    """Y = 16 + 65.481 R + 128.553 G + 24.966 B (BT.601), not rounded.

    uint8 [..., 3] -> float64 [...] in [16, 235].
    """
    return 16 + image.astype(np.float64) @ LUMA / 255


def _without_border(a, b, border):
    """Both images without `border` pixels on every side; ValueError when that is impossible."""
    if a.shape != b.shape:
        raise ValueError(f"images of {a.shape} and {b.shape} cannot be compared")
    height, width = a.shape[:2]
    if min(height, width) <= 2 * border:
        raise ValueError(f"a border of {border} leaves nothing of a {width}×{height} image")
    inner = (slice(border, height - border), slice(border, width - border))
    return a[inner], b[inner]


def psnr(a: np.ndarray, b: np.ndarray, border: int = 0) -> float:
    """20·log10(255) − 10·log10(mean (a − b)²), in dB; infinite for equal images.

    Args:
      a, b: uint8 images, or float planes on the same 0–255 scale, [H, W] or [H, W, C].
      border: pixels cropped from every side; the scale, by the papers' protocol.
    """
    a, b = _without_border(a, b, border)
    error = np.mean(np.square(a.astype(np.float64) - b.astype(np.float64)))
    return float("inf") if error == 0 else float(20 * np.log10(255) - 10 * np.log10(error))


def psnr_y(a: np.ndarray, b: np.ndarray, border: int) -> float:
    """PSNR of the luma planes of two uint8 RGB images."""
    return psnr(luma(a), luma(b), border)


def ssim(a: np.ndarray, b: np.ndarray, border: int = 0) -> float:
    """Structural similarity: mean over the valid region and channels, at most 1.

    (2·μa·μb + C1)(2·σab + C2) / ((μa² + μb² + C1)(σa² + σb² + C2)), C1 = (0.01·255)²,
    C2 = (0.03·255)², with moments under an 11×11 Gaussian window of σ 1.5. (Wang et al. 2004,
    equation 13.)

    Args: as for `psnr`; what the border leaves must be at least 11×11.
    """
    a, b = (np.atleast_3d(x.astype(np.float64)) for x in _without_border(a, b, border))
    if min(a.shape[:2]) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs {SSIM_WINDOW}×{SSIM_WINDOW} pixels inside the border, "
            f"got {a.shape[1]}×{a.shape[0]}"
        )
    half = SSIM_WINDOW // 2
    window = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def blur(x):
        for _ in range(2):
            x = sum(w * x[i : len(x) - 2 * half + i] for i, w in enumerate(window)).swapaxes(0, 1)
        return x

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float(np.mean(similarity / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


def ssim_y(a: np.ndarray, b: np.ndarray, border: int) -> float:
    """SSIM of the luma planes of two uint8 RGB images."""
    return ssim(luma(a), luma(b), border)


def deviation(samples: Sequence[np.ndarray]) -> np.ndarray:
    """Unbiased standard deviation over samples of every value, float64 [H, W, C].

    √((N·Σx² − (Σx)²) / (N·(N − 1))), of whole numbers and so exact up to the division.

    Args:
      samples: N ≥ 2 uint8 images [H, W, C].
    """
    total = square = np.zeros(samples[0].shape, np.int64)
    for x in samples:
        total, square = total + x, square + np.square(x.astype(np.int64))
    count = len(samples)
    return np.sqrt((count * square - total**2) / (count * (count - 1)))


def diversity(samples: Sequence[np.ndarray]) -> float:
    """The mean of `deviation`: how much samples of one LR image differ, on the 0–255 scale."""
    return float(np.mean(deviation(samples)))
