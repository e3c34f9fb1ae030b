"""Messages about several pictures."""

from collections.abc import Sequence

LISTED = 5
"""Problems that one message names."""


def too_small(name: str, lr_size: tuple[int, int], size: int, scale: int) -> str:
    """The message about an image smaller than a patch; sizes in LR pixels."""
    height, width = (scale * side for side in lr_size)
    return (
        f"{name} is {width}×{height}, smaller than patch_size {scale * size}; remove it "
        "or set --config.data.patch_size lower"
    )


def listed(problems: Sequence[str]) -> str:
    """The first LISTED of the problems in one line, and how many more there are.

    A problem ends with "; REMEDY", which is told once for neighbours that share it.
    """
    told = []
    for problem in problems[:LISTED]:
        remedy = problem.rpartition("; ")[2]
        if told and told[-1].endswith(f"; {remedy}"):
            told[-1] = told[-1].removesuffix(f"; {remedy}")
        told.append(problem)
    more = f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
    return "; ".join(told) + more
