"""What an accelerator gives: exactness, precision, speed and memory, in one command.

    python experiments/accelerator.py [--minutes 8] [--sections …] [--peer CHECKOUT]

measures on whatever `jax.devices()` finds and writes OUT.json and OUT.md, by default in
experiments/results/accelerator/, named after the device. Every measurement is kept as soon as it is
made; when the minutes are over the command ends after the one at hand, and the next run goes on.
`--again` measures anew. On a processor, networks and images are tiny, unless --full is given: that
shows that everything runs. Programs are compiled several at once, then timed one by one.
"""

import argparse
import datetime
import json
import os
import re
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the peer needs memory too

import jax  # noqa: E402

from experiments.device import (  # noqa: E402
    exactness,
    feeding,
    peer,
    precision,
    rates,
    sampling,
    timing,
    training,
)

SECTIONS = {
    "rates": (rates, "Products of large matrices"),
    "exactness": (exactness, "Errors against the recorded figures, of their largest value"),
    "precision": (precision, "Full-size networks at random weights: what each dtype changes"),
    "sampling": (sampling, "Sampling, on one device"),
    "training": (training, "Iterations of training"),
    "largest": (training, "The largest batch, in patches per device"),
    "feeding": (feeding, "The data pipeline alone"),
    "peer": (peer, "The authors' PyTorch on the same device"),
}


def measurements(section, size, args):
    """[(key, prepare)]; prepare() compiles and returns measure(kept), which gives rows."""
    if section == "peer":
        return peer.measurements(size, args.peer)
    return (training.largest if section == "largest" else SECTIONS[section][0].measurements)(size)


def main(argv=None):
    args = _arguments(argv)
    device = jax.devices()[0]
    tiny = device.platform == "cpu" and not args.full
    size = timing.TINY if tiny else _full()
    name = re.sub(r"\W+", "_", device.device_kind).strip("_").lower() + "_tiny" * tiny
    out = Path(args.out) / name
    kept = {} if args.again else _read(out.with_suffix(".json"))
    kept["machine"] = _machine(device)
    deadline = time.monotonic() + 60 * args.minutes
    with ThreadPoolExecutor(args.jobs) as pool:
        for section in args.sections:
            left = [
                m for m in measurements(section, size, args) if m[0] not in kept.get(section, {})
            ]
            while left and time.monotonic() < deadline:
                group, left = left[: args.jobs], left[args.jobs :]
                prepared = [(key, pool.submit(prepare)) for key, prepare in group]
                for _, waiting in prepared:
                    waiting.exception()  # waits: nothing is compiled while others are timed
                for key, ready in prepared:
                    kept.setdefault(section, {})[key] = row = _row(key, ready, kept)
                    _write(out, kept)
                    print(f"{section}: {key}: {_told(row)}", flush=True)
            if left:
                print(f"{section}: {len(left)} left for the next run: time is over", flush=True)
    print(f"{out.with_suffix('.json')} and {out.with_suffix('.md')}")


def _arguments(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="default: 8")
    parser.add_argument(
        "--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="NAME",
        help=f"in this order, of {', '.join(SECTIONS)} (default: all)",
    )  # fmt: skip
    parser.add_argument("--peer", metavar="CHECKOUT", help="of JingyunLiang/HCFlow; needs torch")
    parser.add_argument("--again", action="store_true", help="measure anew what is kept")
    parser.add_argument("--full", action="store_true", help="full sizes on a processor too")
    parser.add_argument(
        "--jobs", type=int, default=max(1, min(8, (os.cpu_count() or 1) // 2)),
        help="programs compiled at once (default: half the cores, at most 8)",
    )  # fmt: skip
    parser.add_argument("--out", default=ROOT / "experiments/results/accelerator", metavar="DIR")
    return parser.parse_args(argv)


def _full():
    from hcflow_jax.training import recipes

    return timing.Size(trainings=recipes.PUBLISHED)


def _machine(device):
    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "devices": jax.device_count(),
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        **{name: metadata.version(name) for name in packages},
        "date": str(datetime.date.today()),
    }


def _row(key, prepared, kept):
    """The rows of a measurement, {"error"} where it failed; the trace goes to stderr."""
    try:
        return prepared.result()(kept)
    except Exception as error:  # one failure, such as memory that is out, ends no other measurement
        traceback.print_exc()
        return {"key": key, "error": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}


def _read(path):
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}


def _write(out, kept):
    out.parent.mkdir(parents=True, exist_ok=True)
    for suffix, text in ((".json", json.dumps(kept, indent=1)), (".md", _table(kept))):
        temporary = out.with_suffix(f"{suffix}.part")
        temporary.write_text(text + "\n")
        os.replace(temporary, out.with_suffix(suffix))


def _rows(section):
    for row in section.values():
        yield from row if isinstance(row, list) else [row]


def _table(kept):
    lines = ["# " + kept["machine"]["device"], ""]
    lines.append(", ".join(f"{name} {value}" for name, value in kept["machine"].items()))
    for section, (_, title) in SECTIONS.items():
        rows = list(_rows(kept.get(section, {})))
        columns = list(dict.fromkeys(name for row in rows for name in row))
        if rows:
            lines += [
                "",
                f"## {title}",
                "",
                f"| {' | '.join(columns)} |",
                "|---" * len(columns) + "|",
            ]
            lines += [f"| {' | '.join(_cell(row.get(name)) for name in columns)} |" for row in rows]
    return "\n".join(lines)


def _cell(value):
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _told(rows):
    rows = rows if isinstance(rows, list) else [rows]
    return "; ".join(", ".join(f"{k} {_cell(v)}" for k, v in row.items()) for row in rows)


if __name__ == "__main__":
    main()
