"""Image quality, by the protocol of super-resolution papers: 8 bits, border cropped."""

import numpy as np


def to_uint8(image: np.ndarray) -> np.ndarray:
    """⌊255·clamp(x, 0, 1) + ½⌋: what an 8-bit file keeps of an image in [0, 1]."""
    return np.floor(255 * np.clip(image, 0, 1) + 0.5).astype(np.uint8)


def luma(image: np.ndarray) -> np.ndarray:
    """Y = 16 + 65.481 R + 128.553 G + 24.966 B (BT.601), not rounded.

    uint8 [..., 3] -> float64 [...] in [16, 235].
    """
    return 16 + image.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255


def psnr(a: np.ndarray, b: np.ndarray, border: int = 0) -> float:
    """20·log10(255) − 10·log10(mean (a − b)²), in dB; infinite for equal images.

    Args:
      a, b: uint8 images, or float planes on the same 0–255 scale, [H, W] or [H, W, C].
      border: pixels left out on every side; the scale, by the papers' protocol.
    """
    if a.shape != b.shape:
        raise ValueError(f"images of {a.shape} and {b.shape} cannot be compared")
    height, width = a.shape[:2]
    if min(height, width) <= 2 * border:
        raise ValueError(f"a border of {border} leaves nothing of a {width}×{height} image")
    inner = (slice(border, height - border), slice(border, width - border))
    error = np.mean(np.square(a[inner].astype(np.float64) - b[inner].astype(np.float64)))
    return float("inf") if error == 0 else float(20 * np.log10(255) - 10 * np.log10(error))


def psnr_y(a: np.ndarray, b: np.ndarray, border: int) -> float:
    """PSNR of the luma planes of two uint8 RGB images."""
    return psnr(luma(a), luma(b), border)
