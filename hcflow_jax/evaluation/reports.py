"""The report of an evaluation that was run: put together, and written to a folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from hcflow_jax import images
from hcflow_jax.errors import shown
from hcflow_jax.evaluation import page, published, tables, views
from hcflow_jax.evaluation.kept import Kept
from hcflow_jax.evaluation.methods import Method
from hcflow_jax.evaluation.report import Report
from hcflow_jax.evaluation.running import Evaluation, Row, Settings


def name(hr: Path) -> str:
    """What a set is called: as papers do, or as its folder, which may have a folder HR in it.

    A picture alone is called as its file is, without the suffix.
    """
    known = published.find(hr)
    if known is not None:
        return known.name
    path = Path(os.path.abspath(hr))
    if path.is_file():
        return path.stem
    return (path.parent if path.name.lower() == "hr" else path).name or "pictures"


def make(
    hr: str,
    lr: str | None,
    settings: Settings,
    methods: Sequence[Method],
    rows: Sequence[Row],
    work: Evaluation,
) -> Report:
    """The report of `work`, with what papers say of the set.

    Args:
      hr, lr: as they were named.
      rows: that `work` gave.
    """
    known = published.find(Path(hr))
    tasks = {method.task for method in methods}
    return Report(
        shown(name(Path(hr))),
        {"hr": shown(hr), "lr": lr and shown(lr), "hr_path": os.path.realpath(hr)},
        settings,
        methods,
        rows,
        [(files.name, str(error)) for files, error in work.failed.items()],
        work.cropped,
        published.rows(known, tasks, settings.scale),
        known.pictures if known else 0,
    )


def write(report: Report, kept: Kept, folder: Path) -> None:
    """Writes its files: results.json, results.csv, results.md and index.html."""
    texts = {
        "results.json": tables.as_json(report),
        "results.csv": tables.as_csv(report),
        "results.md": tables.markdown(report),
        "index.html": page.render(report, *views.show(report, kept)),
    }
    for file_name, text in texts.items():
        data = text.encode()
        images.write_beside(folder / file_name, lambda file, data=data: file.write(data))
