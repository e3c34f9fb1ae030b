"""Parts of pictures whose sides divide by a scale."""


def crop(size: tuple[int, int], multiple: int, side: int | None = None) -> tuple[slice, slice]:
    """Rows and columns of the largest part of a picture whose sides divide by `multiple`.

    It begins at the upper left; with `side`, it is the centre of that part, at most `side` pixels
    a side, and begins at a multiple too: LR pixels of the whole picture are LR pixels of it.

    Args:
      size: (height, width) of the picture, of `multiple` pixels a side or more; so has `side`.
    """
    spans = []
    for length in (whole // multiple for whole in size):
        kept = length if side is None else min(length, side // multiple)
        start = (length - kept) // 2
        spans.append(slice(start * multiple, (start + kept) * multiple))
    return spans[0], spans[1]


def starts(side: int, window: int, overlap: int) -> list[int]:
    """First pixels of windows, each overlapping the next by `overlap` or more, up to `side`."""
    if side <= window:
        return [0]
    return [*range(0, side - window, window - overlap), side - window]
