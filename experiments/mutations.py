"""Small faults, put into a copy of the package one after another: do the tests notice?

    python experiments/mutations.py [--list] [--only NAME …] [-o experiments/mutations.md]

Each fault replaces one piece of one file, and is tried on the tests that should notice it, which
first have to pass without it. One pytest runs at a time; the table is written after each.
"""

import argparse
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIJECTORS = "tests/bijectors/test_bijectors.py"
REFERENCE = "tests/model/test_reference.py"
STEPS = "tests/training/test_steps.py"
DEVICES = "tests/training/test_devices.py"
TILING = "tests/sampling/test_tiling.py"
IMAGES = "tests/images"
LIMIT = 900
"""Seconds that a mutant's tests may take."""


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A fault: in `file`, or the folder, the only `old` becomes `new`; `tests` should fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = [
    Mutant(
        "actnorm-inverse-order",
        "bijectors/linear.py",
        'y * jnp.exp(-params["logs"]) - params["bias"]',
        '(y - params["bias"]) * jnp.exp(-params["logs"])',
        (BIJECTORS, "-k", "round_trip"),
    ),
    Mutant(
        "actnorm-log-det-of-one-row",
        "bijectors/linear.py",
        'x.shape[1] * x.shape[2] * jnp.sum(params["logs"])',
        'x.shape[1] * jnp.sum(params["logs"])',
        (BIJECTORS, "-k", "jacobian"),
    ),
    Mutant(
        "prepared-log-det-is-a-sign",
        "bijectors/linear.py",
        "np.linalg.slogdet(weight)[1]",
        "np.linalg.slogdet(weight)[0]",
        (BIJECTORS, "-k", "prepared"),
    ),
    Mutant(
        "statistics-of-one-device",
        "bijectors/linear.py",
        "return v if axis_name is None else jax.lax.pmean(v, axis_name)",
        "return v",
        (BIJECTORS, "-k", "all_devices"),
    ),
    Mutant(
        "haar-log-det-of-another-power",
        "bijectors/squeeze.py",
        "log_det = -(h * w // 4) * c * math.log(16)",
        "log_det = -(h * w // 4) * c * math.log(4)",
        (BIJECTORS, "-k", "jacobian"),
    ),
    Mutant(
        "haar-bands-swapped",
        "bijectors/squeeze.py",
        "[1, -1, 1, -1], [1, 1, -1, -1]",
        "[1, 1, -1, -1], [1, -1, 1, -1]",
        (REFERENCE,),
    ),
    Mutant(
        "coupling-inverse-log-det-sign",
        "bijectors/coupling.py",
        "-sum_pixels(log_scale)",
        "sum_pixels(log_scale)",
        (BIJECTORS, "-k", "round_trip"),
    ),
    Mutant(
        "coupling-shift-and-scale-swapped",
        "bijectors/coupling.py",
        "return h[..., 0::2], h[..., 1::2]",
        "return h[..., 1::2], h[..., 0::2]",
        (REFERENCE,),
    ),
    Mutant(
        "coupling-scale-half-as-steep",
        "bijectors/coupling.py",
        "jnp.arctan(2 * raw)",
        "jnp.arctan(raw)",
        (REFERENCE,),
    ),
    Mutant(
        "reversible-gradients-in-forward-order",
        "bijectors/repeat.py",
        "reverse=not reverse",
        "reverse=reverse",
        (BIJECTORS, "-k", "reversible"),
    ),
    Mutant(
        "rate-of-the-step-before",
        "training/steps.py",
        "recipe.schedule(state.step + 1)",
        "recipe.schedule(state.step)",
        (STEPS, "-k", "iteration"),
    ),
    Mutant(
        "the-same-noise-in-every-iteration",
        "training/steps.py",
        "jax.random.fold_in(rng, state.step)",
        "rng",
        (STEPS, "-k", "iteration"),
    ),
    Mutant(
        "the-same-noise-on-every-device",
        "training/steps.py",
        "first = 0 if axis_name is None else rows * jax.lax.axis_index(axis_name)",
        "first = 0",
        (DEVICES, "-k", "however"),
    ),
    Mutant(
        "finite-by-the-first-update-alone",
        "training/steps.py",
        "finite = functools.reduce(jnp.logical_and, finites)",
        "finite = finites[0]",
        (STEPS, "-k", "later_update"),
    ),
    Mutant(
        "skipped-in-a-row-never-ends",
        "training/steps.py",
        "in_a_row = skip * (state.skipped_in_a_row + 1)",
        "in_a_row = state.skipped_in_a_row + skip",
        (STEPS, "-k", "not_finite"),
    ),
    Mutant(
        "average-of-the-other-weight",
        "training/steps.py",
        "1 - recipe.train.ema",
        "recipe.train.ema",
        (STEPS, "-k", "average"),
    ),
    Mutant(
        "accumulated-sums-not-divided",
        "training/optimizer.py",
        "lambda x: x / micro_batches",
        "lambda x: x",
        (STEPS, "-k", "accumulated"),
    ),
    Mutant(
        "column-not-in-the-key",
        "sampling/tiling.py",
        "jax.random.fold_in(jax.random.fold_in(key, row), column)",
        "jax.random.fold_in(key, row)",
        (TILING, "-k", "noise"),
    ),
    Mutant(
        "row-plus-column-in-the-key",
        "sampling/tiling.py",
        "jax.random.fold_in(jax.random.fold_in(key, row), column)",
        "jax.random.fold_in(key, row + column)",
        (TILING, "-k", "noise"),
    ),
    Mutant(
        "one-key-for-all-levels",
        "sampling/tiling.py",
        "jax.random.fold_in(key, i)",
        "key",
        (TILING, "-k", "noise"),
    ),
    Mutant(
        "halo-kept-at-the-end",
        "sampling/tiling.py",
        "window if start == end else window - halo",
        "window",
        (TILING, "-k", "every_pixel"),
    ),
    Mutant(
        "windows-overlap-by-one-halo",
        "sampling/tiling.py",
        "window - 2 * halo",
        "window - halo",
        (TILING, "-k", "every_pixel"),
    ),
    Mutant(
        "written-values-truncated",
        "images",
        "np.floor(top * np.clip(planes, 0, 1) + 0.5)",
        "np.floor(top * np.clip(planes, 0, 1))",
        (IMAGES, "-k", "nearer or lossless"),
    ),
    Mutant(
        "grey-is-red",
        "images",
        "rgb.mean(axis=-1, keepdims=True)",
        "rgb[..., :1]",
        (IMAGES, "-k", "nearer or grey"),
    ),
    Mutant(
        "shrinking-without-antialiasing",
        "images",
        "shrink = min(scale, 1.0)",
        "shrink = 1.0",
        (IMAGES, "-k", "matlab"),
    ),
    Mutant(
        "borders-repeated-instead-of-mirrored",
        "images",
        "np.minimum(mirrored, 2 * length - 1 - mirrored)",
        "np.clip(indices[:, used], 0, length - 1)",
        (IMAGES, "-k", "matlab"),
    ),
    Mutant(
        "diversity-biased",
        "images",
        "(count * (count - 1))",
        "(count * count)",
        (IMAGES, "-k", "diversity"),
    ),
]


def run(folder, tests):
    """(exit code of pytest, or None after LIMIT, the first test that failed, seconds)."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "no:xdist", "-o", "addopts=", *tests]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    since = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return None, f"no end after {LIMIT} s", time.monotonic() - since
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return done.returncode, failed[1] if failed else "", time.monotonic() - since


def place(package, mutant):
    """The file with the only place for a fault; ValueError where there is none, or several."""
    path = package / mutant.file
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    counts = {file: file.read_text().count(mutant.old) for file in files}
    if sum(counts.values()) != 1:
        raise ValueError(f"{sum(counts.values())} places have {mutant.old}")
    return max(counts, key=lambda file: counts[file])


def verdict(package, mutant):
    """(killed, survived or what else happened; by which test; seconds)."""
    try:
        path = place(package, mutant)
    except ValueError as error:
        return "out of date", str(error), 0.0
    text = path.read_text()
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        code, test, seconds = run(package.parent, mutant.tests)
    finally:
        path.write_text(text)
    told = {0: "survived", 1: "killed", None: "killed"}.get(code, f"pytest ended with {code}")
    return told, test, seconds


HEAD = """# Small faults and the tests that notice them

`python experiments/mutations.py -o experiments/mutations.md`. Each fault is one replacement, listed
in the script.

| fault | in | verdict | by | on |
|---|---|---|---|---|
"""


def write(path, rows):
    """Writes the table of {name: line}, with the lines of other faults that were in it."""
    text = path.read_text() if path.exists() else ""
    before = {line.split(" | ")[0]: line for line in text.splitlines() if " | " in line}
    lines = [rows.get(m.name) or before.get(f"| {m.name}") for m in MUTANTS]
    path.write_text(HEAD + "".join(f"{line}\n" for line in lines if line))


def attempts(chosen):
    """Yields (mutant, verdict, by, seconds), each tried in one copy of the repository."""
    with tempfile.TemporaryDirectory(prefix="mutations_") as temporary:
        folder = Path(temporary) / "copy"
        ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")
        shutil.copytree(ROOT, folder, ignore=ignored)
        sound = {}
        for m in chosen:
            if m.tests not in sound:
                sound[m.tests] = run(folder, m.tests)
            code, test, seconds = sound[m.tests]
            if code == 0:
                yield m, *verdict(folder / "hcflow_jax", m)
            else:
                yield m, f"its tests end with {code} without it", test, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--list", action="store_true", help="print the faults, run nothing")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[m.name for m in MUTANTS])
    parser.add_argument("-o", "--output", type=Path, help="the table, written there too")
    args = parser.parse_args()
    chosen = [m for m in MUTANTS if not args.only or m.name in args.only]
    if args.list:
        for m in chosen:
            print(f"{m.name}: {m.file}: {m.old!r} -> {m.new!r}; {' '.join(m.tests)}")
        return
    rows, verdicts = {}, set()
    for i, (m, told, by, seconds) in enumerate(attempts(chosen), 1):
        print(f"{i}/{len(chosen)} {m.name}: {told} {by} ({seconds:.0f} s)", flush=True)
        rows[m.name] = f"| {m.name} | `{m.file}` | {told} | {by} | {time.strftime('%Y-%m-%d')} |"
        verdicts.add(told)
        if args.output:
            write(args.output, rows)
    if verdicts != {"killed"}:
        sys.exit(1)


if __name__ == "__main__":
    main()
