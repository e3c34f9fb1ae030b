"""Figures that papers print of well-known test sets, ×4, to stand beside one's own."""

import dataclasses
import re
from collections.abc import Collection, Sequence
from pathlib import Path

XIAO = "Xiao et al., Invertible Image Rescaling, ECCV 2020"
LIANG = "Liang et al., Hierarchical Conditional Flow, ICCV 2021"
ZHANG = "Zhang et al., Very Deep Residual Channel Attention Networks, ECCV 2018"


@dataclasses.dataclass(frozen=True)
class Published:
    """A row of a paper: the task, or "" for interpolation, the figures, and the paper."""

    title: str
    task: str
    figures: dict[str, float]
    source: str


@dataclasses.dataclass(frozen=True)
class TestSet:
    """A test set, how many pictures it has, and rows of papers about it."""

    name: str
    pictures: int
    rows: tuple[Published, ...]


def _luma(title, task, source, psnr_y, ssim_y):
    return Published(title, task, {"psnr_y": psnr_y, "ssim_y": ssim_y}, source)


def _rgb(title, psnr, ssim, lpips):
    return Published(title, "sr", {"psnr": psnr, "ssim": ssim, "lpips": lpips}, LIANG)


def _small(bicubic, rcan, irn):
    """The rows of the small sets: pairs of PSNR-Y and SSIM-Y."""
    return (
        _luma("bicubic", "", XIAO, *bicubic),
        _luma("RCAN", "sr", ZHANG, *rcan),
        _luma("IRN", "rescaling", XIAO, *irn),
    )


SETS = (
    TestSet("Set5", 5, _small((28.42, 0.8104), (32.63, 0.9002), (36.19, 0.9451))),
    TestSet("Set14", 14, _small((26.00, 0.7027), (28.87, 0.7889), (32.67, 0.9015))),
    TestSet("BSD100", 100, _small((25.96, 0.6675), (27.77, 0.7436), (31.64, 0.8826))),
    TestSet("Urban100", 100, _small((23.14, 0.6577), (26.82, 0.8087), (31.41, 0.9157))),
    TestSet(
        "DIV2K",
        100,
        (
            _rgb("HCFlow", 27.02, 0.76, 0.124),
            _rgb("HCFlow++", 26.61, 0.74, 0.110),
            _rgb("SRFlow", 27.09, 0.76, 0.121),
            _rgb("ESRGAN", 26.22, 0.75, 0.124),
            _luma("HCFlow", "rescaling", LIANG, 35.23, 0.9346),
            _luma("IRN", "rescaling", XIAO, 35.07, 0.9318),
        ),
    ),
)
"""Of DIV2K, the 100 validation pictures."""

_NAMES = {
    "b100": "BSD100",
    "bsds100": "BSD100",
    "div2kvalid": "DIV2K",
    "div2kvalidhr": "DIV2K",
    "div2kvalidation": "DIV2K",
} | {known.name.lower(): known.name for known in SETS}


def find(folder: Path) -> TestSet | None:
    """The set that a folder is named after, or the one above it, as in Set5/HR.

    Case and everything but letters and digits do not matter.
    """
    for part in folder.absolute().parts[:-3:-1]:
        name = _NAMES.get(re.sub(r"[^a-z0-9]", "", part.lower()))
        if name is not None:
            return next(known for known in SETS if known.name == name)
    return None


def rows(known: TestSet | None, tasks: Collection[str], scale: int) -> Sequence[Published]:
    """The rows of a set that belong beside networks of such tasks at this scale."""
    if known is None or scale != 4:
        return ()
    return [row for row in known.rows if row.task in {"", *tasks}]
