"""Patches a second that the data pipeline reads, beside what an iteration takes."""

import contextlib
import functools
import io
import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOGRAPH = Path(__file__).resolve().parents[2] / "hcflow_jax/assets/chelsea.png"


def measurements(size):
    return [
        (f"{kind} {workers}", functools.partial(_patches, kind, workers, size))
        for kind in ("tiles", "pictures")
        for workers in (0, os.cpu_count() or 1)
    ]


def _patches(kind, workers, size):
    def measure(kept):
        from hcflow_jax.data import build, open_source, rate

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pictures"
            path.mkdir()
            for i in range(size.photographs):
                photograph(size.photograph, i).save(path / f"{i}.png", compress_level=1)
            if kind == "tiles":
                with contextlib.redirect_stderr(io.StringIO()):
                    path = build.build(path, Path(folder) / "set")
            source = open_source(str(path), "", "train", 4, 0)
            found = rate.patches_per_second(
                source, size.patch, size.rows, workers, 3 * size.seconds
            )
        row = {"data": kind, "workers": workers, "cores": os.cpu_count(), "patches_per_s": found}
        trained = [row["images_per_s"] for row in kept.get("training", {}).values()]
        return row | ({"fastest_training_takes": max(trained)} if trained else {})

    return measure


def photograph(size, seed):
    """An image of photographic structure and noise, of (width, height) `size`."""
    with Image.open(PHOTOGRAPH) as image:
        values = np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS), np.float32)
    noisy = values + np.random.default_rng(seed).normal(0, 2, values.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
