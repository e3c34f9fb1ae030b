"""Draws what `hcflow evaluate` measured against temperature, and prints it.

python experiments/studies/seven.py seven
hcflow evaluate seven --temperatures 0,0.25,0.4,0.5,0.75,0.8,1 -o report
python experiments/studies/temperature.py report/results.json
"""

import json
import sys
from pathlib import Path

import matplotlib

from hcflow_jax.evaluation.figures import FIGURES

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

SHOWN = ("psnr_y", "ssim_y", "lpips", "lr_psnr", "diversity", "space_diversity")


def main():
    found = json.loads(Path(sys.argv[1]).read_text())
    means, methods = found["means"], found["methods"]
    titles = [FIGURES[name].title for name in SHOWN]
    print(f"| | {' | '.join(titles)} |\n|---|{'---|' * len(titles)}")
    for method in methods:
        row = means[method["name"]]
        texts = [f"{row[f]:.{FIGURES[f].decimals}f}" if f in row else "" for f in SHOWN]
        print(f"| {method['title']} | {' | '.join(texts)} |")
    figure, axes = plt.subplots(2, 3, figsize=(10, 5), layout="constrained")
    warm = [method for method in methods if method["temperature"] is not None]
    for axis, name in zip(axes.flat, SHOWN, strict=True):
        points = [(m["temperature"], means[m["name"]].get(name)) for m in warm]
        axis.plot(*zip(*[p for p in points if p[1] is not None], strict=True), "o-")
        if name in means["bicubic"]:
            axis.axhline(means["bicubic"][name], color="gray", linewidth=1)
        axis.set(title=FIGURES[name].title, xlabel="temperature")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=80)


if __name__ == "__main__":
    main()
