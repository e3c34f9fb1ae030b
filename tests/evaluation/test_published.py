"""Figures of papers, and the sets they are of."""

from pathlib import Path

import pytest

from hcflow_jax.evaluation import figures, published


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("Set5", "Set5"),
        ("data/set_14/HR", "Set14"),
        ("B100", "BSD100"),
        ("BSD-100/", "BSD100"),
        ("urban100", "Urban100"),
        ("DIV2K_valid_HR", "DIV2K"),
        ("Set5/photos/HR", None),
        ("DIV2K_train_HR", None),
        ("Set55", None),
    ],
)
def test_sets_are_known_by_their_folders(folder, name):
    found = published.find(Path(folder))
    assert (found and found.name) == name


def test_rows_are_those_of_the_tasks_at_scale_4():
    known = published.find(Path("Set5"))
    assert [row.title for row in published.rows(known, {"sr"}, 4)] == ["bicubic", "RCAN"]
    assert [row.title for row in published.rows(known, {"rescaling"}, 4)] == ["bicubic", "IRN"]
    assert not published.rows(known, {"sr"}, 2) and not published.rows(None, {"sr"}, 4)


def test_every_row_has_known_figures_and_a_source():
    rows = [row for known in published.SETS for row in known.rows]
    assert len(rows) == 18 and all(row.source for row in rows)
    for row in rows:
        assert set(row.figures) <= set(figures.FIGURES)
        assert 20 < row.figures.get("psnr_y", row.figures.get("psnr")) < 40
