"""Reports as tables, charts and a page, of figures that are set here."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hcflow_jax.evaluation import curves, methods, page, published, report, tables, views
from hcflow_jax.evaluation.kept import SPREAD_GAIN, Kept
from hcflow_jax.evaluation.pairs import Files
from hcflow_jax.evaluation.running import Row, Settings
from tests.tiny import RESCALING, SR

LABEL = "a_network_with_a_name_that_is_longer_than_a_table_of_a_console_can_bear"


def _network(label, task="sr"):
    return methods.Network(
        label, f"runs/{label}", {"sr": SR, "rescaling": RESCALING}[task], {}, "0"
    )


def _report(networks, temperatures=(0.0, 0.5), pictures=1, samples=10, back_project=0, **named):
    rows = methods.methods(networks, temperatures, samples, back_project)

    def figures(i, method):
        names = ("psnr_y", "ssim_y", "psnr", "ssim", "lpips", "lr_psnr")
        found = {name: 100.0 - i if "psnr" in name else 0.1 + 0.01 * i for name in names}
        extra = {"diversity": 5.0, "space_diversity": 12.5} if method.samples > 1 else {}
        own = {"lr_psnr_y_own": 40.0, "lr_ssim_y_own": 0.9} if method.task == "rescaling" else {}
        return found | extra | own

    found = {m.name: figures(i, m) for i, m in enumerate(rows)}
    at = [Row(Files(Path(f"{i}.png")), (40, 48), found) for i in range(pictures)]
    known = {"settings": Settings(4), "failed": [], "cropped": 0} | named
    return report.Report("Set5", {"hr": "Set5", "lr": None}, methods=rows, rows=at, **known)


def test_the_console_names_the_temperature_of_every_row():
    found = _report([_network("shipped_sr")], (0.0, 0.25, 0.5), back_project=2)
    titles = [line.split("  ")[0] for line in tables.console(found).splitlines()[3:]]
    assert titles == [f"shipped_sr, T = {t}, back-projected 2×" for t in ("0", "0.25", "0.5")]


def test_the_console_keeps_to_its_width_whatever_networks_are_called():
    found = _report(
        [_network(LABEL), _network(f"{LABEL}_too", "rescaling")],
        published=published.SETS[0].rows,
        whole=5,
    )
    lines = tables.console(found).splitlines()
    assert max(map(len, lines)) <= tables.WIDTH
    assert lines[0].split() == [
        *("PSNR-Y", "SSIM-Y", "PSNR", "SSIM", "LPIPS", "LR-PSNR", "Divers.", "SR-space")
    ]
    assert lines[1].split() == [
        "bicubic",
        "100.00",
        "0.1000",
        "100.00",
        "0.1000",
        "0.100",
        "100.00",
    ]
    assert "papers' figures are of all 5 pictures, ours of 1" in lines
    assert sum("against bicubic: PSNR-Y 40.00, SSIM-Y 0.9000" in line for line in lines) == 1
    assert f"paper: {published.XIAO}" in lines and any(x.startswith("RCAN, paper") for x in lines)


def test_the_best_are_marked_as_they_are_printed():
    found = _report([_network("sr")])
    means = found.means
    assert found.best("psnr_y", means) == {"bicubic"} and found.best("lpips", means) == {"bicubic"}
    means["sr_T0"]["psnr_y"] = 99.999
    assert found.best("psnr_y", means) == {"bicubic", "sr_T0"}
    assert found.best("diversity", means) == set()
    assert "| bicubic | **100.00** |" in tables.markdown(found)


def test_round_ticks_lie_in_the_range():
    for low, high, texts in [
        (26.4, 28.6, ["26.5", "27.0", "27.5", "28.0", "28.5"]),
        (0.15, 0.35, ["0.15", "0.20", "0.25", "0.30", "0.35"]),
        (-3.0, 120.0, ["0", "50", "100"]),
    ]:
        assert [text for _, text in curves._ticks(low, high)] == texts
    for scale in 10.0 ** np.arange(-4, 4):
        found = [value for value, _ in curves._ticks(0.123 * scale, 0.987 * scale)]
        assert 2 <= len(found) <= 6 and 0.123 * scale <= found[0] and found[-1] <= 0.987 * scale


def test_charts_need_several_temperatures():
    assert curves.curves(_report([_network("sr")], [0.5])) == []
    charts = curves.curves(_report([_network("a"), _network("b")]))
    assert len(charts) == len(curves.FIGURES)
    for chart in charts:
        assert chart.count('class="line c') == 2 and chart.count("<circle") == 4
        numbers = [
            float(x) for p in re.findall(r'points="([^"]+)"', chart) for x in re.split("[ ,]", p)
        ]
        assert min(numbers) >= 0 and max(numbers) <= 320
    assert 'class="level"' in charts[0] and 'class="level"' not in charts[2]


def test_of_many_pictures_middles_are_shown_within_a_bound():
    for pictures in (1, 5, 100, 1000):
        found = _report([_network("sr")], [0.0, 0.5, 0.9], pictures)
        side, count = views._sizes(found)
        shown = 3 + 2 + 1 + 2 * 2
        assert side % 4 == 0 and views.SIDES[0] <= side <= views.SIDES[1]
        assert side**2 * shown * count <= views.PIXELS and count >= min(pictures, 90)
    assert views._middle((100, 50), 40, 4) == ((28, 4), (40, 40))


def test_the_page_tells_of_crops_and_of_pictures_it_does_not_show(tmp_path, monkeypatch):
    monkeypatch.setattr(views, "SIDES", (16, 16))
    monkeypatch.setattr(views, "PIXELS", 16 * 16 * 8)
    monkeypatch.chdir(tmp_path)
    found = _report([_network("sr")], [0.5], pictures=2)
    kept, pixels = Kept(tmp_path / "pictures"), np.zeros((40, 48, 3), np.uint8)
    for row in found.rows:
        Image.fromarray(pixels).save(row.files.hr)
        spread = np.full((40, 48), 20 * SPREAD_GAIN // 10, np.uint8)
        kept.put(row.files.hr.name, "sr_T0.5", "", {}, {"": pixels, "spread": spread})
    shown, top = views.show(found, kept)
    assert top == 2 and len(shown) == 1 and shown[0].cropped
    text = page.render(found, shown, top)
    assert "its middle, 16 × 16, is shown" in text and "from 0 to 2 of 255" in text
    assert "The first 1 of 2 pictures can be looked at here" in text


@pytest.mark.parametrize("value", [0, 1, 2])
def test_heat_goes_from_black_to_light(value):
    expected = {0: views._HEAT[0], 1: views._HEAT[-1], 2: views._HEAT[-1]}[value]
    assert tuple(views._heat(np.full((1, 1), float(value)))[0, 0]) == expected


def test_spreadsheets_run_no_names_of_files():
    found = _report([_network("sr")])
    row = dataclasses.replace(found.rows[0], files=Files(Path("=1+1.png")))
    text = tables.as_csv(dataclasses.replace(found, rows=[row]))
    assert text.splitlines()[1].startswith("'=1+1.png,")
