"""Training batches from a folder of photographs."""

import dataclasses
from pathlib import Path

import grain
import numpy as np

from hcflow_jax import images
from hcflow_jax.resize import imresize


class FolderSource:
    """Random access to {"hr": uint8 [H, W, 3], "lr": uint8 [H/s, W/s, 3]} of a folder's images.

    HR is cropped to a multiple of the scale s; LR is its MATLAB bicubic downscaling, rounded to
    8 bits. Everything is read at once and kept in memory. ImageError naming the file when one
    cannot be read, or is smaller than `patch` pixels on a side.
    """

    def __init__(self, path: str | Path, scale: int, patch: int):
        if patch % scale:
            raise ValueError(f"patch_size {patch} does not divide by the scale {scale}")
        self._records = [_record(p, scale, patch) for p in images.list_images(path)]

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index) -> dict[str, np.ndarray]:
        return self._records[index]

    def __repr__(self) -> str:
        return f"FolderSource({len(self)} images)"


def _record(path, scale, patch):
    rgb = images.read(path).rgb
    height, width = (side - side % scale for side in rgb.shape[:2])
    if min(height, width) < patch:
        raise images.ImageError(
            f"{path} is {rgb.shape[1]}×{rgb.shape[0]}, smaller than patch_size {patch}; remove it "
            "or set config.data.patch_size lower"
        )
    hr = np.round(255 * rgb[:height, :width]).astype(np.uint8)
    return {"hr": hr, "lr": imresize(hr, 1 / scale)}


@dataclasses.dataclass(frozen=True)
class RandomPatch(grain.transforms.RandomMap):
    """An aligned HR/LR crop of `patch` HR pixels, flipped and (if `rotate`) turned at random.

    Float32 in [0, 1].
    """

    patch: int
    scale: int
    rotate: bool

    def random_map(self, element, rng: np.random.Generator):
        """{"hr": [patch, patch, 3], "lr": [patch/scale, patch/scale, 3]}."""
        small = self.patch // self.scale
        height, width, _ = element["lr"].shape
        top, left = rng.integers(height - small + 1), rng.integers(width - small + 1)
        lr = element["lr"][top : top + small, left : left + small]
        top, left = top * self.scale, left * self.scale
        hr = element["hr"][top : top + self.patch, left : left + self.patch]
        flip, turns = rng.integers(2), rng.integers(4) if self.rotate else 0

        def augment(x):
            x = np.rot90(x[:, ::-1] if flip else x, turns)
            return x.astype(np.float32) / 255

        return {"hr": augment(hr), "lr": augment(lr)}


def patches(
    path: str | Path, scale: int, patch: int, rotate: bool, batch_size: int, seed: int
) -> grain.MapDataset:
    """Endless batches {"hr": [B, patch, patch, 3], "lr": …}; batch i is a function of (seed, i)."""
    source = FolderSource(path, scale, patch)
    return (
        grain.MapDataset.source(source)
        .seed(seed)
        .shuffle()
        .repeat()
        .random_map(RandomPatch(patch, scale, rotate))
        .batch(batch_size, drop_remainder=True)
    )
