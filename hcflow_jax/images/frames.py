"""The pictures of a file that holds several: an animation, the pages of a TIFF."""

from pathlib import Path

from hcflow_jax.images.reading import opened


def frame_count(path: str | Path | bytes, max_pixels: int | None = None) -> int:
    """How many pictures a file holds; 1 of an MPO, whose others are previews and the like.

    ImageError, naming the file and the remedy, where it cannot be opened or they be counted.
    """
    with opened(path, max_pixels) as image:
        return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
