"""What a training prints and logs."""

import json

import numpy as np
import pytest

from hcflow_jax.training import reporting

ROWS = {
    kind: dict.fromkeys(("psnr_y", "ssim_y", "psnr", "ssim", "lpips", "lr_psnr"), 28.87654)
    for kind in ("0.9", "0", "bicubic")
}


@pytest.fixture
def report(tmp_path):
    report = reporting.Report(tmp_path, 0, 300_000, 16 * 160**2, {}, board=False)
    yield report
    report.close()


def test_lines_fit_a_console_of_a_hundred_characters(report, capsys):
    terms = {f"loss/perceptual_{i}": -1.23456e-5 for i in range(9)}
    report.step(1, terms)
    report.step(2, terms | {"skipped": 0.0})
    report.validation(2, {"nll": 9.8, "bits_per_dim": 3.2} | _flat(ROWS), {})
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    assert out.count("loss/perceptual_8 -1.235e-05") == 2 and "skipped" not in out
    assert "with compilation)" in out and "left" in out


def _flat(rows):
    return {f"{name}@{kind}": v for kind, row in rows.items() for name, v in row.items()}


def test_a_validation_is_a_table_with_bicubic_first(report, capsys, tmp_path):
    diversity = {"diversity@0.9": 1.5}
    report.validation(7, {"nll": 9.8, "bits_per_dim": 3.2} | _flat(ROWS) | diversity, {})
    figures = "PSNR-Y 28.88  SSIM-Y 28.8765  LPIPS 28.877  LR-PSNR 28.88"
    assert capsys.readouterr().out.splitlines() == [
        "step 7  validation",
        "  nll 9.8  bits_per_dim 3.2",
        f"  bicubic  {figures}",
        f"  T = 0  {figures}",
        f"  T = 0.9  {figures}  Diversity 1.50",
    ]
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert line["step"] == 7 and line["valid/ssim@0"] == 28.87654


def test_what_is_not_finite_is_null_in_the_log(report, tmp_path):
    report.step(1, {"nll": np.nan, "loss": 1.0})
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert line["nll"] is None and line["loss"] == 1
