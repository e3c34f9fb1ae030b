"""A finished evaluation as values: what all tables and the page are made of."""

import dataclasses
import datetime
import platform
from collections.abc import Sequence
from importlib import metadata

import hcflow_jax
from hcflow_jax import devices
from hcflow_jax.evaluation.figures import FIGURES, Figure, mean
from hcflow_jax.evaluation.methods import Method, Network
from hcflow_jax.evaluation.published import Published
from hcflow_jax.evaluation.running import Row, Settings

SHOWN = ("psnr_y", "ssim_y", "psnr", "ssim", "lpips", "lr_psnr", "diversity", "space_diversity")
"""Figures of tables that are read; files for programs have all."""

OWN = "_own"
"""Ends the name of a figure of a rescaling network's own LR picture against the bicubic one."""


def figure(name: str) -> Figure:
    """How the figure of a name is printed."""
    if name.endswith(OWN):
        known = FIGURES[name.removesuffix(OWN)]
        return dataclasses.replace(known, title=f"{known.title}, own")
    return FIGURES[name]


def number(name: str, value: float | None) -> str:
    """A figure with its decimals; "" where there is none."""
    return "" if value is None else f"{value:.{figure(name).decimals}f}"


@dataclasses.dataclass(frozen=True)
class Report:
    """An evaluation.

    Attributes:
      name: of the set, for headings.
      place: {"hr": …, "lr": … or None}, the folders, as they were named.
      rows: the figures of every picture that has some.
      failed: [(picture, why)] of the others.
      cropped: pictures that lost rows or columns.
      published: rows of papers about the set; `whole`: how many pictures those are of.
    """

    name: str
    place: dict[str, str | None]
    settings: Settings
    methods: Sequence[Method]
    rows: Sequence[Row]
    failed: Sequence[tuple[str, str]]
    cropped: int
    published: Sequence[Published] = ()
    whole: int = 0
    date: str = dataclasses.field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    )

    @property
    def means(self) -> dict[str, dict[str, float]]:
        """{method: {figure: mean over the pictures}}, figures in the order of FIGURES."""
        return {
            m.name: _ordered(mean([row.figures[m.name] for row in self.rows])) for m in self.methods
        }

    @property
    def networks(self) -> list[Network]:
        """The networks of the methods, each once."""
        found = {m.network.label: m.network for m in self.methods if m.network}
        return list(found.values())

    def is_first(self, method: Method) -> bool:
        """Whether a method is the first of its network."""
        return next(m for m in self.methods if m.network is method.network) is method

    @property
    def shown(self) -> list[str]:
        """The figures of SHOWN that some method or paper has."""
        there = {name for figures in self.means.values() for name in figures}
        there |= {name for row in self.published for name in row.figures}
        return [name for name in SHOWN if name in there]

    def best(self, name: str, means: dict[str, dict[str, float]]) -> set[str]:
        """The methods, of {method: figures}, that are best in a figure, as it is printed."""
        printed = {m: float(number(name, f[name])) for m, f in means.items() if name in f}
        higher = figure(name).higher
        if higher is None or len(printed) < 2:
            return set()
        top = max(printed.values()) if higher else min(printed.values())
        return {m for m, value in printed.items() if value == top}

    def whose(self, row: Published) -> str:
        """The title of a row of a paper in a table."""
        return f"{row.title}{' rescaling' * (row.task == 'rescaling')}, paper"


def _ordered(figures):
    order = [*FIGURES, *(name for name in figures if name.endswith(OWN))]
    return {name: figures[name] for name in order if name in figures}


def machine() -> dict:
    """Versions and devices, as JSON values."""
    packages = ("jax", "jaxlib", "flax", "numpy", "pillow")
    return {
        "hcflow_jax": hcflow_jax.__version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
        "platform": platform.platform(),
        "device": devices.described(),
    }
