"""The authors' PyTorch on the same device, in a process of its own, as its defaults compute.

Those take TF32 in convolutions, as PyTorch has it on GPUs that can, and float32 in products.
"""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import json, sys, time, statistics
import numpy as np, torch
sys.path.insert(0, "experiments/benchmarks")
from peer import Peer
checkout, name, action, batch, side, least = json.loads(sys.argv[1])
device = "cuda" if torch.cuda.is_available() else "cpu"
peer, scale = Peer(checkout, name, device), 8 if name.endswith("x8") else 4
hr = np.random.default_rng(1).random((batch, 3, side, side), np.float32)
lr = np.ascontiguousarray(hr[:, :, ::scale, ::scale])
def run():
    peer.sample(lr, 0.8) if action == "sample" else peer.step(hr, lr)
    if device == "cuda": torch.cuda.synchronize()
run(); run()
times, begin = [], time.perf_counter()
while len(times) < 3 or time.perf_counter() - begin < least:
    start = time.perf_counter(); run(); times.append(time.perf_counter() - start)
peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None
print(json.dumps({"seconds": statistics.median(times), "memory_gib": peak, "on": device}))
"""


def measurements(size, checkout):
    if not checkout:
        return []
    samples = [("sample", size.sides[0], batch) for batch in size.batches]
    plan = [*samples, ("iteration", size.patch, size.rows)]
    return [
        (f"{name} {' '.join(map(str, of))}", functools.partial(_timed, checkout, name, *of, size))
        for name in size.names
        for of in plan
    ]


def _timed(checkout, name, action, side, batch, size):
    def measure(kept):
        options = [str(Path(checkout).resolve()), name, action, batch, side, size.seconds]
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, json.dumps(options)],
            cwd=ROOT,
            env=os.environ,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"the peer ended: {done.stderr.strip().splitlines()[-1]}")
        found = json.loads(done.stdout.splitlines()[-1])
        row = {"network": name, "action": action, "side": side, "batch": batch, **found}
        return row | {"images_per_s": batch / found["seconds"]}

    return measure
