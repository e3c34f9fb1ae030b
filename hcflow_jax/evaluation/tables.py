"""A report as text: the console's table, Markdown, CSV and JSON."""

import csv
import dataclasses
import io
import json
import re

from hcflow_jax.errors import counted
from hcflow_jax.evaluation.report import OWN, Report, figure, machine, number

WIDTH = 110
"""Characters of a line on the console, at most."""

NO_LPIPS = "LPIPS is not measured; pip install 'hcflow_jax[lpips]' for its weights"

_SHORT = {"space_diversity": "SR-space", "diversity": "Divers."}


def console(report: Report) -> str:
    """The means of all methods, and published ones, as a table of WIDTH columns at most."""
    lines = [["", *(_SHORT.get(name, figure(name).title) for name in report.shown)]]
    lines += means(report)["rows"]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widths[0] = min(widths[0], WIDTH - sum(2 + width for width in widths[1:]))
    lines = [[_cut(line[0], widths[0]), *line[1:]] for line in lines]
    text = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    ]
    return "\n".join([*text, *notes(report)])


def means(report: Report) -> dict[str, list]:
    """{"columns", "rows"}: titles and, as printed, means of all methods, and published ones."""
    shown, found = report.shown, report.means
    rows = [(method.title, found[method.name]) for method in report.methods]
    rows += [(report.whose(row), row.figures) for row in report.published]
    return {
        "columns": ["", *map(_head, shown)],
        "rows": [[title, *(number(n, figures.get(n)) for n in shown)] for title, figures in rows],
    }


def notes(report: Report) -> list[str]:
    """Lines that belong under a table of means."""
    return [*_own(report), *_sources(report)]


def _cut(text, most):
    """`text` with its middle left out where it is longer."""
    half = most // 2
    return text if len(text) <= most else f"{text[: most - half - 1]}…{text[-half:]}"


def _own(report):
    """Lines about the LR pictures of rescaling networks, of each network once."""
    for method in filter(report.is_first, report.methods):
        found = report.means[method.name]
        own = {n.removesuffix(OWN): v for n, v in found.items() if n.endswith(OWN)}
        if own:
            names = [n for n in ("lr_psnr_y", "lr_ssim_y", "lr_psnr", "lr_ssim") if n in own]
            parts = [f"{figure(n).title.removeprefix('LR-')} {number(n, own[n])}" for n in names]
            yield f"LR of {_cut(method.network.label, 28)} against bicubic: {', '.join(parts)}"


def _sources(report):
    """Lines that say where the published rows come from."""
    if report.published and report.whole != len(report.rows):
        yield f"papers' figures are of all {report.whole} pictures, ours of {len(report.rows)}"
    for source in dict.fromkeys(row.source for row in report.published):
        yield f"paper: {source}"


def markdown(report: Report) -> str:
    """The means, then the figures of every picture, as Markdown."""
    shown = report.shown
    heads = [_head(name) for name in shown]
    means = report.means
    best = {name: report.best(name, means) for name in shown}
    body = []
    for method in report.methods:
        cells = []
        for name in shown:
            text = number(name, means[method.name].get(name))
            cells.append(f"**{text}**" if method.name in best[name] else text)
        body.append([_escaped(method.title), *cells])
    for row in report.published:
        cells = [number(name, row.figures.get(name)) for name in shown]
        body.append([f"*{_escaped(report.whose(row))}*", *cells])
    lines = [f"# {_escaped(report.name)}, ×{report.settings.scale}", "", _about(report), ""]
    lines += _table([f"mean of {len(report.rows)}", *heads], body)
    if notes(report):
        lines += ["", *(f"- {_escaped(note)}" for note in notes(report))]
    lines += ["", "## Pictures", ""]
    rows = [
        [_escaped(row.files.name), _escaped(method.title)]
        + [number(name, row.figures[method.name].get(name)) for name in shown]
        for row in report.rows
        for method in report.methods
    ]
    lines += _table(["picture", "method", *heads], rows)
    if report.failed:
        lines += ["", "## Left out", ""]
        lines += [f"- {_escaped(why)}" for _, why in report.failed]
    return "\n".join(lines) + "\n"


def _about(report):
    machine_ = machine()
    samples = counted(max(method.samples for method in report.methods), "sample")
    return (
        f"{report.date}, hcflow {machine_['hcflow_jax']}, {machine_['device']}. 8-bit pictures, "
        f"a border of {report.settings.scale} pixels left out; {samples} at most, seed "
        f"{report.settings.seed}."
    )


def _head(name):
    found = figure(name)
    arrow = {True: " ↑", False: " ↓", None: ""}[found.higher]
    return found.title + arrow


def _table(head, body):
    align = ["---" if i == 0 or h == "method" else "---:" for i, h in enumerate(head)]
    return [f"| {' | '.join(line)} |" for line in (head, align, *body)]


def _escaped(text):
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", text)


def _names(report):
    """All figures that some method has."""
    return list(dict.fromkeys(n for figures in report.means.values() for n in figures))


def as_csv(report: Report) -> str:
    """A row per picture and method, with all figures."""
    names = _names(report)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    head = ["picture", "width", "height", "method", "task", "temperature", "samples"]
    writer.writerow([*head, *names])
    for row in report.rows:
        for method in report.methods:
            found = row.figures[method.name]
            temperature = "" if method.temperature is None else method.temperature
            facts = [
                _no_formula(row.files.name),
                row.size[1],
                row.size[0],
                method.name,
                method.task,
            ]
            values = [found.get(name, "") for name in names]
            writer.writerow([*facts, temperature, method.samples, *values])
    return file.getvalue()


def _no_formula(text):
    """`text`, which spreadsheets do not run; they would where it begins like a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def as_json(report: Report) -> str:
    """Everything: settings, machine, methods, means, pictures, what failed, what papers say."""
    titles = {n: {"title": figure(n).title, "unit": figure(n).unit} for n in _names(report)}
    values = {
        "set": report.name,
        "date": report.date,
        "machine": machine(),
        "settings": {**report.place, **_settings(report.settings)},
        "networks": [network.facts() for network in report.networks],
        "methods": [_method(method) for method in report.methods],
        "means": report.means,
        "pictures": [_picture(row) for row in report.rows],
        "cropped": report.cropped,
        "failed": [{"name": name, "reason": why} for name, why in report.failed],
        "published": [dataclasses.asdict(row) for row in report.published],
        "figures": titles,
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def _settings(of):
    names = ("scale", "seed", "tile", "max_pixels")
    facts = {name: getattr(of, name) for name in names}
    return facts | {"border": of.scale, "lpips": of.lpips and of.lpips.net}


def _method(method):
    facts = {"name": method.name, "title": method.title, "temperature": method.temperature}
    network = method.network.label if method.network else None
    return facts | {
        "network": network,
        "samples": method.samples,
        "back_project": method.back_project,
        "refine": method.refine,
    }


def _picture(row):
    height, width = row.size
    return {"name": row.files.name, "width": width, "height": height, "figures": row.figures}
