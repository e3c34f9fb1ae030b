"""A report as one HTML file that needs nothing else: `page.html`, `page.css`, `page.js`, filled."""

import json
import string
from collections.abc import Sequence
from html import escape
from importlib import resources

from hcflow_jax.errors import counted
from hcflow_jax.evaluation import tables
from hcflow_jax.evaluation.curves import curves, legend
from hcflow_jax.evaluation.report import Report, figure, machine, number
from hcflow_jax.evaluation.views import Shown

TASKS = {"sr": "super-resolution", "rescaling": "rescaling"}
"""What tasks are called on the page."""


def render(report: Report, shown: Sequence[Shown], top: float) -> str:
    """The page.

    Args:
      shown, top: as `views.show` returns them.
    """
    charts = curves(report)
    parts = {
        "title": escape(f"{report.name}, ×{report.settings.scale}"),
        "facts": _facts(report),
        "means": _means(report),
        "notes": _notes(report),
        "curves": f'<div class="charts">{"".join(charts)}</div>{legend(report)}' if charts else "",
        "pictures": _pictures(report, shown, top),
        "failed": _failed(report),
        "settings": _settings(report),
        "style": _asset("page.css"),
        "script": _asset("page.js"),
        "data": _data(shown),
    }
    return string.Template(_asset("page.html")).substitute(parts)


def _asset(name):
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _data(shown):
    """What the script reads, as JSON in which no tag can end."""
    pictures = [
        {
            "name": found.row.files.name,
            "width": found.width,
            "height": found.height,
            "views": [
                {"title": v.title, "note": v.note, "source": v.source, "factor": v.factor}
                for v in found.views
            ],
        }
        for found in shown
    ]
    return json.dumps(pictures).replace("<", "\\u003c").replace(">", "\\u003e")


def _facts(report):
    """The line under the title."""
    of = report.settings
    facts = [
        counted(len(report.rows), "picture"),
        f"×{of.scale}",
        f"LR pictures: {escape(report.place['lr'] or 'MATLAB bicubic, 8 bits')}",
        *(f"{escape(n.label)}: {TASKS[n.model.task]}" for n in report.networks),
        escape(report.date[:10]),
    ]
    return "".join(f"<li>{fact}</li>" for fact in facts)


def _table(head: Sequence[str], body: Sequence[str], caption: str) -> str:
    cells = "".join(f'<th scope="col">{title}</th>' for title in head)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table>'
        f"<caption>{caption}</caption><thead><tr>{cells}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _heads(report, first):
    arrows = {True: " ↑", False: " ↓", None: ""}
    heads = []
    for name in report.shown:
        found = figure(name)
        unit = f' <span class="unit">{found.unit}</span>' if found.unit else ""
        heads.append(f"{found.title}{arrows[found.higher]}{unit}")
    return [first, *heads]


def _lines(report, means):
    """A line of cells for each method, the best figures marked."""
    best = {name: report.best(name, means) for name in report.shown}
    for method in report.methods:
        cells = [f'<th scope="row">{escape(method.title)}</th>']
        for name in report.shown:
            mark = ' class="best"' if method.name in best[name] else ""
            cells.append(f"<td{mark}>{number(name, means[method.name].get(name))}</td>")
        yield f"<tr>{''.join(cells)}</tr>"


def _means(report):
    body = [*_lines(report, report.means)]
    for row in report.published:
        cells = "".join(f"<td>{number(n, row.figures.get(n))}</td>" for n in report.shown)
        name = f'<th scope="row">{escape(report.whose(row))}</th>'
        body.append(f'<tr class="paper">{name}{cells}</tr>')
    caption = f"Mean of {counted(len(report.rows), 'picture')}; the best of each column is bold"
    return _table(_heads(report, "method"), body, caption)


def _notes(report):
    of = report.settings
    notes = [
        f"8-bit results, a border of {of.scale} pixels left out. LR-PSNR: the result, shrunk by "
        "MATLAB's bicubic, against the LR picture, with its border.",
        *(escape(note) for note in tables.notes(report)),
    ]
    drawn = sorted({m.samples for m in report.methods if m.samples > 1})
    if drawn:
        notes.append(
            f"Figures above temperature 0 are means of {drawn[-1]} samples. Diversity is their "
            "standard deviation; SR-space diversity what the best of them gains in LPIPS when it "
            "is chosen at each pixel (the challenge of 2021 draws 10)."
        )
    if of.lpips is None:
        notes.append(f"{tables.NO_LPIPS}.")
    if report.cropped:
        cropped = counted(report.cropped, "picture")
        notes.append(f"Cropped at the right and bottom to multiples of {of.scale}: {cropped}.")
    return "".join(f"<li>{note}</li>" for note in notes)


def _pictures(report, shown, top):
    """A section for every picture: its viewer, where it is shown, and its figures."""
    of = {found.row.files: (i, found) for i, found in enumerate(shown)}
    parts = []
    if len(shown) < len(report.rows):
        parts.append(
            f"<p>The first {len(shown)} of {len(report.rows)} pictures can be looked at here; all "
            "results are in the folder <code>pictures</code> beside this page.</p>"
        )
    if any(method.samples > 1 for method in report.methods):
        parts.append(
            '<p class="heat">Spread: standard deviation over samples, <span class="ramp"></span> '
            f"from 0 to {top:.3g} of 255.</p>"
        )
    for place, row in enumerate(report.rows):
        index, found = of.get(row.files, (None, None))
        size = f"{row.size[1]} × {row.size[0]}"
        if found is not None and found.cropped:
            size += f"; its middle, {found.width} × {found.height}, is shown"
        viewer = "" if found is None else f'<div class="viewer" data-picture="{index}"></div>'
        name = escape(row.files.name)
        table = _table(_heads(report, "method"), [*_lines(report, row.figures)], f"Of {name}")
        parts.append(
            f'<section class="picture" id="p{place}"><h3>{name} <small>{size}</small></h3>'
            f"{viewer}{table}</section>"
        )
    return "".join(parts)


def _failed(report):
    if not report.failed:
        return ""
    items = "".join(f"<li>{escape(why)}</li>" for _, why in report.failed)
    return f'<section class="failed"><h2>Left out</h2><ul>{items}</ul></section>'


def _settings(report):
    """Pairs of what decides the figures, for the end of the page."""
    of = report.settings
    facts = {"HR": report.place["hr"], "LR": report.place["lr"] or "MATLAB bicubic"}
    for network in report.networks:
        parameters = network.facts()["parameters"]
        facts[network.label] = f"{network.path}, {parameters:,} parameters, {network.digest[:16]}"
    facts |= {"seed": of.seed, "date": report.date, **machine()}
    return "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
