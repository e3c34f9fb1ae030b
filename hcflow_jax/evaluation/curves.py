"""Curves of figures against the temperature, as SVG."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from hcflow_jax.evaluation.report import Report, figure, number

FIGURES = ("psnr_y", "lpips", "diversity")

_WIDTH, _HEIGHT = 320, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 34, 40
_TICKS = 5  # at most
_LITTLE = 1e-9  # by which a quotient may miss a whole number
COLOURS = 6
"""Colours of lines that the page knows, as classes c0, c1, …"""


def curves(report: Report) -> list[str]:
    """A chart of each of FIGURES that changes with the temperature: a line per network.

    Bicubic is a dashed level. Empty where no network has several temperatures.
    """
    charts = []
    for name in FIGURES:
        lines = {}
        for network in report.networks:
            points = [
                (
                    m.temperature,
                    report.means[m.name].get(name, 0.0 if name == "diversity" else None),
                )
                for m in report.methods
                if m.network is network
            ]
            lines[network.label] = sorted(point for point in points if point[1] is not None)
        several = any(len(points) > 1 for points in lines.values())
        measured = any(name in found for found in report.means.values())
        if several and measured:
            charts.append(_chart(name, lines, report.means["bicubic"].get(name)))
    return charts


def legend(report: Report) -> str:
    """What the colours of the lines stand for, as HTML."""
    items = [
        f'<li><span class="key c{i % COLOURS}"></span>{escape(network.label)}</li>'
        for i, network in enumerate(report.networks)
    ]
    return (
        f'<ul class="legend">{"".join(items)}<li><span class="key dashed"></span>bicubic</li></ul>'
    )


def _chart(name: str, lines: dict[str, list[tuple[float, float]]], level: float | None) -> str:
    points = [point for line in lines.values() for point in line]
    values = [y for _, y in points] + ([] if level is None else [level])
    (left, right), (low, high) = _range([x for x, _ in points]), _range(values, margin=0.08)

    def place(x, y):
        across = (x - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)
        up = (y - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return f"{_LEFT + across:.1f},{_HEIGHT - _BOTTOM - up:.1f}"

    shapes = [*_axes(place, sorted({x for x, _ in points}), (left, right), (low, high))]
    if level is not None:
        shapes.append(_polyline("level", [place(left, level), place(right, level)]))
    for i, (label, line) in enumerate(lines.items()):
        shapes.append(_polyline(f"line c{i % COLOURS}", [place(x, y) for x, y in line]))
        for x, y in line:
            across, down = place(x, y).split(",")
            told = f"{escape(label)}, T = {x:g}: {number(name, y)}"
            shapes.append(
                f'<circle class="dot c{i % COLOURS}" cx="{across}" cy="{down}" r="3.5">'
                f"<title>{told}</title></circle>"
            )
    found = figure(name)
    better = {True: " (higher is better)", False: " (lower is better)", None: ""}[found.higher]
    unit = f", {found.unit}" if found.unit else ""
    title = f'<text class="title" x="14" y="18">{found.title}{unit}</text>'
    label = f"{found.title} against temperature{better}"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f"{title}{''.join(shapes)}</svg>"
    )


def _range(values: Sequence[float], margin: float = 0.0):
    """(least, most), never equal, with a margin on both sides."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return low - margin * (high - low), high + margin * (high - low)


def _ticks(low: float, high: float) -> Iterator[tuple[float, str]]:
    """(value, text) of round values in a range: multiples of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10((high - low) / _TICKS))
    step = next(m * power for m in (1, 2, 5, 10) if (high - low) / (m * power) <= _TICKS + _LITTLE)
    decimals = max(0, -math.floor(math.log10(step) + _LITTLE))
    for i in range(math.ceil(low / step - _LITTLE), math.floor(high / step + _LITTLE) + 1):
        yield i * step, f"{i * step:.{decimals}f}"


def _axes(place, temperatures, across, up):
    """Grid lines with the figure's values, and ticks at the temperatures."""
    for value, text in _ticks(*up):
        y = place(across[0], value).split(",")[1]
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text class="tick end" x="{_LEFT - 6}" y="{y}" dy="4">{text}</text>'
    for x in temperatures:
        column = place(x, up[0]).split(",")[0]
        y = _HEIGHT - _BOTTOM + 16
        yield f'<text class="tick middle" x="{column}" y="{y}">{x:g}</text>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text class="tick middle" x="{middle}" y="{_HEIGHT - 6}">temperature</text>'


def _polyline(kind, points):
    return f'<polyline class="{kind}" points="{" ".join(points)}"/>'
