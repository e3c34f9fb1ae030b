"""Draws speed.png and growth.png, and prints the tables of README.md, from results.json."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

HERE = Path(__file__).resolve().parent


def speed(rows):
    print(
        "| network | batch | what | ours, s | of matmul | peer, s | ratio | GB | peer, GB | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        ours, peer = row["ours"], row.get("peer")
        cells = [row["name"], row["batch"], row["action"], _seconds(ours)]
        cells += [f"{100 * row['of_matmul_rate']:.0f} %"]
        cells += [_seconds(peer), f"{row['ratio']:.2f}"] if peer else ["", ""]
        cells += [f"{ours['peak_bytes'] / 1e9:.2f}"]
        if peer:
            cells += [f"{peer['peak_bytes'] / 1e9:.2f}", f"{row['memory_ratio']:.2f}"]
        print("|", " | ".join(map(str, cells)), "|")
    compared = [row for row in rows if "ratio" in row]
    if compared:
        figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
        labels = [f"{r['name']} {r['action']} ×{r['batch']}" for r in compared]
        axes.bar(labels, [r["ratio"] for r in compared])
        axes.axhline(1, color="black", linewidth=1)
        axes.set_ylabel("time, ours / PyTorch")
        axes.tick_params(axis="x", rotation=90)
        figure.savefig(HERE / "speed.png", dpi=110)


def _seconds(side):
    return f"{side['median']:.2f} ({side['least']:.2f}–{side['most']:.2f})"


def growth(found):
    figure, (time, memory, depth) = plt.subplots(1, 3, figsize=(12, 3.5), layout="constrained")
    sides = [row["side"] for row in found["size"]]
    time.plot(sides, [1e6 * row["per_pixel"] for row in found["size"]], "o-")
    time.set(xscale="log", xlabel="side of the result", ylabel="µs per pixel")
    memory.plot(sides, [row["temp_bytes"] / row["side"] ** 2 for row in found["size"]], "o-")
    memory.set(xscale="log", xlabel="side of the result", ylabel="temporary bytes per pixel")
    for what in ("flow steps", "RRDBs"):
        rows = [row for row in found["depth"] if row["what"] == what]
        depth.plot([r["count"] for r in rows], [r["ready"] for r in rows], "o-", label=what)
    depth.set(xlabel="per level", ylabel="s until the first result")
    depth.legend()
    for axes in (time, memory, depth):
        axes.set_ylim(0, 1.1 * axes.dataLim.ymax)
    figure.savefig(HERE / "growth.png", dpi=110)


def main():
    results = json.loads((HERE / "results.json").read_text())
    for section, draw in (("speed", speed), ("growth", growth)):
        if section in results:
            draw(results[section])


if __name__ == "__main__":
    main()
