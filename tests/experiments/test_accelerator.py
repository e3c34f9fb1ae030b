"""The measurements of an accelerator, at tiny sizes, where there is only a processor."""

import json

import pytest

from experiments import accelerator
from experiments.device import timing, training

SECTIONS = ("rates", "exactness", "precision", "sampling", "feeding")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out = tmp_path_factory.mktemp("accelerator")
    accelerator.main(["--out", str(out), "--sections", *SECTIONS])
    return out / "cpu_tiny.json"


@pytest.mark.slow
def test_every_section_measures(report):
    kept = json.loads(report.read_text())
    for section in SECTIONS:
        planned = accelerator.measurements(section, timing.TINY, None)
        assert list(kept[section]) == [key for key, _ in planned]
    rows = [row for section in SECTIONS for row in accelerator._rows(kept[section])]
    assert not [row for row in rows if "error" in row]
    assert {row["dtype"] for row in rows if "dtype" in row} == set(timing.DTYPES)
    exact = kept["exactness"]["sr_x4_tiny float32"]
    assert all(exact[name] < 1e-4 for name in ("hr", "latent", "lr_raw", "nll"))
    by_dtype = {row["dtype"]: row for row in kept["precision"]["sr_x4"]}
    changed = {name: abs(row["bits_per_dim_change"]) for name, row in by_dtype.items()}
    assert changed["float32"] == 0 < changed["bfloat16"]
    assert report.with_suffix(".md").read_text().count("\n## ") == len(SECTIONS)


@pytest.mark.slow
def test_what_is_kept_is_not_measured_again(report, capsys):
    before = json.loads(report.read_text())
    argv = ["--out", str(report.parent), "--sections", *SECTIONS]
    accelerator.main(argv)
    assert capsys.readouterr().out.splitlines() == [f"{report} and {report.with_suffix('.md')}"]
    assert json.loads(report.read_text()) == before
    accelerator.main([*argv, "--again", "--minutes", "0"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"rates: {len(timing.DTYPES)} left for the next run: time is over"


def test_a_measurement_that_fails_ends_no_other(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(timing, "DTYPES", ("float32", "float33"))
    accelerator.main(["--out", str(tmp_path), "--sections", "rates"])
    kept = json.loads((tmp_path / "cpu_tiny.json").read_text())["rates"]
    assert kept["float32"]["tflop_per_s"] > 0
    assert kept["float33"] == {"key": "float33", "error": "KeyError: 'float33'"}
    assert "Traceback" in capsys.readouterr().err


def test_an_iteration_is_timed():
    key, prepare = training.measurements(timing.TINY)[0]
    row = prepare()({})
    assert key == "sr_x4:smoke float32" and row["images_per_s"] > 0 and row["tflop"] > 0
