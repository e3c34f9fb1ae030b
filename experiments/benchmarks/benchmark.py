"""How fast, how small, how it grows: this project and, beside it, the authors' PyTorch.

    python experiments/benchmarks/benchmark.py [--peer CHECKOUT] [--sections speed growth …]

Every measurement has a process of its own. Repetitions of the two sides take turns, so that both
meet the same machine; the median is reported, and the spread from smallest to largest. Results go
to results.json and PNGs beside this script, section by section.
"""

import argparse
import contextlib
import dataclasses
import datetime
import functools
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
PHOTOGRAPH = HERE.parents[1] / "hcflow_jax/assets/chelsea.png"
NAMES = ("sr_x8", "sr_x4", "rescaling_x4")
TOGETHER = (("sample", "samples"), ("encode",), ("step", "step_saving"))
BATCHES = 1, 4
ACTIONS = sum(TOGETHER, ())
SIDE = 160
TEMPERATURE = 0.8


# What one process does


def our_call(name, action, batch, side=SIDE, **changes):
    """(a function that runs once and waits, XLA's plan of it, its FLOPs as counted)."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from experiments.networks import network

    if action == "step_saving":
        changes |= {"remat": True, "reversible": True}
    config, model, params = network(name, **changes)
    hr = jnp.asarray(np.random.default_rng(1).random((batch, side, side, 3), np.float32))
    lr, key = hr[:, :: model.scale, :: model.scale], jax.random.key(0)
    if action.startswith("step"):
        return _iteration(name, config, params, hr, lr, key)
    return _pass(name, action, model, params, hr, lr, key)


def _iteration(name, config, params, hr, lr, key):
    """`our_call` of a training iteration."""
    import jax
    import numpy as np

    from experiments import counting
    from hcflow_jax.training import memory, steps
    from hcflow_jax.training.config import parse

    config.data.path = "any"
    recipe = parse(config)
    state = jax.jit(lambda p: steps.create_state(recipe, p, key, hr.shape[1]))(params)
    del params
    memory.release()

    def trace(recipe):
        step = jax.jit(functools.partial(steps.train_step, recipe), donate_argnums=0)
        return step.trace(state, {"hr": hr, "lr": lr}, key)

    plain = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, kernels="plain"))
    flops = counting.flops(trace(plain).jaxpr.jaxpr)
    lowered = trace(recipe).lower()
    compiled = memory.compiled(lowered)
    del lowered
    memory.release()

    def run():
        nonlocal state
        state, figures = compiled(state, {"hr": hr, "lr": lr}, key)
        loss = figures["loss/rescaling" if "resc" in name else "loss/likelihood"]
        if not np.isfinite(float(loss)):
            raise FloatingPointError(f"{name}: the loss is not finite")

    return run, compiled, flops


def _pass(name, action, model, params, hr, lr, key):
    """`our_call` of sampling and encoding."""
    import jax

    from experiments import counting
    from hcflow_jax.training import losses

    samples = len(lr) if action == "samples" else 1
    arguments = (model.prepare(params), hr, lr[:1] if action == "samples" else lr, key)

    def trace(model):
        def call(p, hr, lr, key):
            if action.startswith("sample"):
                return model.sample(p, key, lr, TEMPERATURE, samples)
            if name.startswith("sr"):
                return losses.nll(losses.likelihood(model, p, hr, lr, 64))
            return model.encode(p, hr)

        return jax.jit(call).trace(*arguments)

    compiled = trace(model).lower().compile()
    flops = counting.flops(trace(dataclasses.replace(model, kernels="plain")).jaxpr.jaxpr)

    def once():
        jax.block_until_ready(compiled(*arguments))

    return once, compiled, flops


def peer_call(checkout, name, action, batch, side=SIDE):
    import numpy as np
    from peer import Peer

    peer = Peer(checkout, name)
    scale = 8 if name.endswith("x8") else 4
    hr = np.random.default_rng(1).random((batch, 3, side, side), np.float32)
    lr = np.ascontiguousarray(hr[:, :, ::scale, ::scale])
    if action == "sample":
        return lambda: peer.sample(lr, TEMPERATURE)
    if action == "encode":
        return lambda: peer.encode(hr, lr)
    return lambda: peer.step(hr, lr)


def work(options):
    """Prepares and says so; for every line read runs twice, times the second; answers in JSON.

    The first run fetches back what the other side's turn has displaced: caches, and pages that a
    virtual machine's host has taken away.
    """
    started = time.perf_counter()
    plan = {}
    who = options.pop("who")
    if who == "folder":
        _folder_work()
        return
    if who == "peer":
        run = peer_call(**options)
    else:
        run, compiled, flops = our_call(**options)
        plan = {"temp_bytes": compiled.memory_analysis().temp_size_in_bytes, "flops": flops}
    run()
    print(json.dumps({"ready": time.perf_counter() - started, **plan}), flush=True)
    for _ in sys.stdin:
        run()
        begin = time.perf_counter()
        run()
        seconds = time.perf_counter() - begin
        print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes()}), flush=True)


def peak_bytes():
    """Largest resident memory of this process; getrusage's can be that of the parent."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s*(\d+)", status).group(1))


class Side:
    """A process that runs one measurement when told to."""

    def __init__(self, **options):
        from hcflow_jax.training.memory import ENVIRONMENT, HUGE_PAGES

        environment = os.environ | {"GLIBC_TUNABLES": HUGE_PAGES}
        if options["who"] == "ours" and options["action"].startswith("step"):
            environment |= ENVIRONMENT  # as `hcflow train` does
        environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parents[1])}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.times = []
        self.facts = self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a measurement ended early: {self.process.args[-1]}")
        return json.loads(line)

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self._answer()
        self.times.append(answer["seconds"])
        self.facts |= answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        return {
            "median": statistics.median(self.times),
            "least": min(self.times),
            "most": max(self.times),
            **{k: v for k, v in self.facts.items() if k != "seconds"},
        }


# Sections


def speed(args):
    """Seconds and peak memory of sampling, encoding and training, ours beside the peer's.

    "samples" are those of one image, "step_saving" a step with remat and reversible. What the peer
    does alike is measured in turns with one and the same process of it.
    """
    rows = []
    for name in args.names:
        for batch in args.batches:
            for group in TOGETHER:
                chosen = [a for a in group if a in args.actions and (a, batch) != ("samples", 1)]
                if chosen:
                    rows += _measured(args, {"name": name, "batch": batch}, chosen)
                    args.keep("speed", rows)
    return rows


def _measured(args, what, actions):
    sides = {action: Side(who="ours", action=action, **what) for action in actions}
    if args.peer:
        like = actions[0].removesuffix("_saving").removesuffix("s")
        sides["peer"] = Side(who="peer", checkout=args.peer, action=like, **what)
    for _ in range(args.repetitions):
        for side in sides.values():
            side.run()
    found = {key: side.close() for key, side in sides.items()}
    rows = []
    for action in actions:
        ours, peer = found[action], found.get("peer")
        row = {**what, "action": action, "date": str(datetime.date.today()), "ours": ours}
        if peer:
            row["peer"] = peer
            row["ratio"] = ours["median"] / peer["median"]
            row["memory_ratio"] = ours["peak_bytes"] / peer["peak_bytes"]
        row["of_matmul_rate"] = ours["flops"] / ours["median"] / args.rate
        rows.append(row)
        _say(row)
    return rows


def growth(args):
    """Sampling time per pixel and planned memory against size; compile time against depth."""
    by_size = []
    for side in (64, 128, 256, 512, 1024):
        one = Side(who="ours", name="sr_x4", action="sample", batch=1, side=side)
        for _ in range(2):
            one.run()
        found = one.close()
        by_size.append({"side": side, "per_pixel": found["median"] / side**2, **found})
        _say(by_size[-1])
    by_depth = []
    for changes in ({"steps": [k, k], "conditional_steps": [k // 2, k // 2]} for k in (8, 16, 32)):
        by_depth.append(_compile_time("flow steps", changes["steps"][0], changes))
    for blocks in (3, 7, 14):
        by_depth.append(_compile_time("RRDBs", blocks, {"blocks": [blocks, blocks]}))
    return {"size": by_size, "depth": by_depth}


def _compile_time(what, count, changes):
    one = Side(who="ours", name="sr_x4", action="sample", batch=1, side=64, **changes)
    row = {"what": what, "count": count, "ready": one.facts["ready"]}
    one.run()
    one.close()
    _say(row)
    return row


def start(args):
    """`hcflow upscale` ×8 at full size, from nothing and with kept programs."""
    from PIL import Image

    from experiments.networks import network
    from hcflow_jax import checkpoints

    _, model, params = network("sr_x8")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        checkpoints.save_model(folder / "model", model, params)
        Image.effect_mandelbrot((20, 20), (-2, -1, 1, 1), 50).save(folder / "small.png")
        command = [sys.executable, "-m", "hcflow_jax", "upscale", str(folder / "small.png")]
        command += ["--scale", "8", "--checkpoint", str(folder / "model"), "-o"]
        environment = os.environ | {
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PYTHONPATH": str(HERE.parents[1]),
        }
        found = {"cold": [], "warm": []}
        for _ in range(3):
            shutil.rmtree(folder / "cache", ignore_errors=True)
            for kind in found:
                begin = time.perf_counter()
                output = [str(folder / "large.png")]
                subprocess.run(command + output, env=environment, check=True, capture_output=True)
                found[kind].append(time.perf_counter() - begin)
    _say(found)
    return found


def halo(args):
    """Largest and mean difference that tiles make, by halo: weights that ship, full-size ones."""
    import numpy as np

    from experiments.networks import network
    from hcflow_jax import images, sampling
    from hcflow_jax.sampling import tiling

    hr = images.extend(images.read(PHOTOGRAPH).rgb, 384, 512)
    lr = sampling.downscale(*sampling.load(None, "rescaling"), hr)
    networks = {f"shipped {task}": sampling.load(None, task) for task in ("sr", "rescaling")}
    for name in ("sr_x4", "rescaling_x4"):
        _, model, params = network(name)
        networks[name] = model, model.prepare(params)
    rows = []
    for name, (model, params) in networks.items():
        whole = sampling.sample(model, params, lr, 0.5, tile=512, check=False)
        for size in (16, 32, tiling.HALO, 96):
            inputs = [(lr, 0)]
            tiled = next(sampling.sample_all(model, params, inputs, 0.5, 0, 256, size, check=False))
            error = 255 * np.abs(tiled.pixels - whole)
            rows.append({"network": name, "halo": size, "most": float(error.max())})
            rows[-1] |= {"mean": float(error.mean()), "deviation": float(255 * whole.std())}
            _say(rows[-1])
    return rows


def folder(args):
    """24 pictures of three sizes through `hcflow upscale`, beside their arithmetic alone.

    Shipped weights, ×4, on one device and on two simulated ones that share the machine.
    """
    rows = []
    for devices in (1, 2):
        flag = f"--xla_force_host_platform_device_count={devices}"
        environment = os.environ | {"XLA_FLAGS": flag, "PYTHONPATH": str(HERE.parents[1])}
        command = [sys.executable, __file__, "--worker", json.dumps({"who": "folder"})]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
        rows.append({"devices": devices, **json.loads(done.stdout)})
        _say(rows[-1])
    return rows


def _folder_work():
    from PIL import Image

    from hcflow_jax import cli, images, sampling
    from hcflow_jax.sampling import pictures

    with tempfile.TemporaryDirectory() as root:
        small, results = Path(root) / "small", Path(root) / "large"
        small.mkdir()
        results.mkdir()
        picture = Image.open(PHOTOGRAPH).convert("RGB")
        for i in range(24):
            picture.resize(((96, 64), (128, 96), (160, 128))[i % 3]).save(small / f"{i:02}.png")
        read = [images.read(path).rgb for path in sorted(small.iterdir())]
        model, params = sampling.load(None, "sr")

        def arithmetic():
            inputs = ((pixels, 0) for pixels in read)
            return list(sampling.sample_all(model, params, inputs, 0.5))

        def command():
            with contextlib.redirect_stdout(sys.stderr):
                assert cli.main(["upscale", str(small), "-o", str(results)]) == 0

        times = {"arithmetic": [], "command": []}
        for turn in range(4):
            for function in (arithmetic, command):
                begin = time.perf_counter()
                function()
                if turn:
                    times[function.__name__].append(time.perf_counter() - begin)
        medians = {name: statistics.median(values) for name, values in times.items()}
        print(json.dumps(medians | {"programs": pictures._decode_windows._cache_size()}))


def large(args):
    """Through the command line: 3840×2160 there and back, and 4096×4096 of the full-size network.

    Seconds and largest resident memory of each command.
    """
    import numpy as np
    from PIL import Image

    from experiments.networks import network
    from hcflow_jax import checkpoints, images

    def command(*argv):
        code = (
            "import sys; from hcflow_jax import cli; code = cli.main(sys.argv[1:]); "
            "from experiments.benchmarks.benchmark import peak_bytes; print(peak_bytes()); "
            "sys.exit(code)"
        )
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, argv)],
            env=os.environ | {"PYTHONPATH": str(HERE.parents[1])},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        row = {"command": argv[0], "seconds": time.perf_counter() - begin}
        row["peak_bytes"] = int(done.stdout.split()[-1])
        _say(row)
        return row

    with tempfile.TemporaryDirectory() as folder:
        hr, lr, back = (Path(folder) / f"{name}.png" for name in ("hr", "lr", "back"))
        Image.open(PHOTOGRAPH).convert("RGB").resize((3840, 2160), Image.LANCZOS).save(hr)
        rows = [command("downscale", hr, "-o", lr), command("restore", lr, "-o", back)]
        error = images.read(hr).rgb - images.read(back).rgb
        rows[-1]["psnr"] = float(-10 * np.log10(np.mean(error**2)))
        _, model, params = network("sr_x4")
        checkpoints.save_model(Path(folder) / "model", model, params)
        Image.open(PHOTOGRAPH).convert("RGB").resize((1024, 1024)).save(hr)
        weights = ("--checkpoint", Path(folder) / "model")
        rows.append(command("upscale", hr, "-o", back, *weights))
        assert Image.open(back).size == (4096, 4096)
    return rows


SECTIONS = {
    "speed": speed,
    "growth": growth,
    "start": start,
    "halo": halo,
    "folder": folder,
    "large": large,
}


def matmul_rate():
    """FLOP/s of a float32 product of 2048×2048 matrices, the best of ten."""
    import jax.numpy as jnp

    a = jnp.ones((2048, 2048))
    times = []
    for _ in range(10):
        begin = time.perf_counter()
        (a @ a).block_until_ready()
        times.append(time.perf_counter() - begin)
    return 2 * 2048**3 / min(times)


def _say(row):
    print(json.dumps(row, default=str), flush=True)


def _which(row):
    return NAMES.index(row["name"]), row["batch"], ACTIONS.index(row["action"])


def machine():
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "date": str(datetime.date.today()),
        "processor": model.group(1) if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {p: metadata.version(p) for p in ("jax", "jaxlib", "flax", "optax", "numpy")},
        "torch": _version("torch"),
        "matmul_flops": matmul_rate(),
    }


def _version(package):
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer", metavar="CHECKOUT", help="a checkout of JingyunLiang/HCFlow")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--names", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--actions", nargs="+", choices=ACTIONS, default=list(ACTIONS))
    parser.add_argument("--batches", nargs="+", type=int, choices=BATCHES, default=list(BATCHES))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(json.loads(args.worker))
        return
    path = HERE / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    facts = machine()

    def keep(section, found):
        if section == "speed":  # rows that were not measured now stay
            measured = {_which(row) for row in found}
            found = found + [r for r in results.get("speed", []) if _which(r) not in measured]
            found.sort(key=_which)
        results[section] = found
        results.setdefault("machines", {})[section] = facts
        path.write_text(json.dumps(results, indent=1) + "\n")

    args.keep, args.rate = keep, facts["matmul_flops"]
    for section in args.sections:
        keep(section, SECTIONS[section](args))
    subprocess.run([sys.executable, HERE / "plot.py"], check=True)


if __name__ == "__main__":
    main()
