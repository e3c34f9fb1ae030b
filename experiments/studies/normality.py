"""Are the latents of photographs the white Gaussian noise that the flow takes them for?

    pip install scikit-image scikit-learn
    python experiments/studies/normality.py [--sr PATH] [--rescaling PATH]

The figures of `hcflow latents` on the seven photographs, for both tasks, as one table, and its
histograms.
"""

import argparse
import json
import tempfile
from pathlib import Path

from PIL import Image
from seven import photographs

from hcflow_jax import cli

FIGURES = ("mean", "std", "kurtosis", "right", "below", "beyond_3")


def measured(task: str, checkpoint: str | None, folder: Path) -> list[dict]:
    """The levels of the report of `hcflow latents`, whose histograms become normality_TASK.png."""
    report, picture = folder / "report.json", Path(__file__).with_name(f"normality_{task}.png")
    words = ["latents", str(folder / "seven"), "--task", task, "-o", str(picture)]
    words += ["--json", str(report)] + (["--checkpoint", checkpoint] if checkpoint else [])
    if cli.main(words):
        raise SystemExit(1)
    return json.loads(report.read_text())["levels"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for task in ("sr", "rescaling"):
        parser.add_argument(f"--{task}", help="checkpoint (default: the shipped one)")
    args, rows = parser.parse_args(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "seven").mkdir()
        for title, image in photographs().items():
            Image.fromarray(image).save(folder / "seven" / f"{title}.png")
        for task in ("sr", "rescaling"):
            for level in measured(task, getattr(args, task), folder):
                texts = [f"{level[figure]['value']:.3f}" for figure in FIGURES]
                rows.append(f"| {task}, level {level['level']} | {' | '.join(texts)} |")
    print(f"\n| | {' | '.join(FIGURES)} |\n|---|{'---|' * len(FIGURES)}")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
