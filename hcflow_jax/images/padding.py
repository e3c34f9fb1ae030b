"""Pictures extended beyond their border."""

import numpy as np


def extend(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """[H, W, C] -> [height, width, C], padded by reflection (edge included) below and right."""
    pad = [(0, new - old) for new, old in zip((height, width), rgb.shape, strict=False)]
    return np.pad(rgb, [*pad, (0, 0)], mode="symmetric") if any(map(any, pad)) else rgb


def pad_reflect(rgb: np.ndarray, multiple: int) -> np.ndarray:
    """[H, W, C] with H and W extended to the next multiples of `multiple`."""
    return extend(rgb, *(side + -side % multiple for side in rgb.shape[:2]))
