"""Memory of large results, and what is said of work before, during and after it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from hcflow_jax import cli, sampling
from hcflow_jax.cli import progress
from hcflow_jax.sampling import memory, tiling
from tests.tiny import SR

PEAKS = """
import json, re
from pathlib import Path
import numpy as np
from PIL import Image
from hcflow_jax import cli, sampling
from hcflow_jax.sampling import pictures
from tests.tiny import SR

def repeated(model, steps, params, lr, *_):
    lr = np.asarray(lr)
    return lr.repeat(4, 1).repeat(4, 2), np.zeros((*lr.shape[:3], 2), np.float32)

pictures._sample_windows = repeated
sampling.load = lambda *_, **__: (SR, {})
peaks = []
for side in (1000, 2000):
    values = np.arange(side, dtype=np.uint8)
    grey = np.add.outer(values, values)
    Image.fromarray(np.stack([grey, grey, 0 * grey], -1)).save("in.png")
    assert cli.main(["upscale", "in.png", "-o", "out.png", "--tile", "256"]) == 0
    status = Path("/proc/self/status").read_text()  # getrusage tells the parent's peak, if larger
    peaks.append(1024 * int(re.search(r"VmHWM:\\s*(\\d+)", status).group(1)))
print(json.dumps(peaks))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
@pytest.mark.slow
def test_results_do_not_grow_beyond_the_memory(tmp_path):
    """From 4,000² to 8,000², by the whole command, with windows that need no compiling."""
    command = [sys.executable, "-c", PEAKS]
    flags = "--xla_force_host_platform_device_count=1"
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "XLA_FLAGS": flags}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    small, large = json.loads(done.stdout.splitlines()[-1])
    assert small < 350e6 and (large - small) / (8000**2 - 4000**2) < 1, (small, large)
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (8000, 8000) and image.getpixel((7999, 8)) == (209, 209, 0)


@pytest.fixture
def wide(tmp_path, monkeypatch):
    """A picture of several tiles, and a model that is not asked for more than its sizes."""

    def sample_all(model, params, pictures, temperature, seed, tile, progress, **_):
        for lr, _ in pictures:
            height, width, _ = lr.shape
            count = tiling.count((height, width), 4, tile)
            progress(count)
            for _ in range(count):
                progress(-1)
            yield sampling.Sample(np.zeros((4 * height, 4 * width, 3), np.float32))

    monkeypatch.setattr(sampling, "sample_all", sample_all)
    monkeypatch.setattr(sampling, "load", lambda *_, **__: (SR, {}))
    monkeypatch.setattr(memory, "available", lambda: 8 * 10**9)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (700, 400), "teal").save("wide.png")
    return tmp_path


def test_long_work_is_announced_in_one_line(wide, capsys):
    assert cli.main(["upscale", "wide.png", "-o", "new/", "--scale", "2.5"]) == 0
    first, second, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("wide.png: 1750×1000 pixels, 8 tiles, about ") and not rest
    assert second.startswith("enlarged ×4 by the network, then shrunk to ×2.5 ")
    Image.new("RGB", (48, 30)).save("small.png")
    assert cli.main(["upscale", "wide.png", "wide.png", "small.png", "-o", "new"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("2 pictures: up to 2800×1600 pixels, 9 tiles, about ")
    assert cli.main(["upscale", "small.png"]) == 0
    assert capsys.readouterr().err == ""


def test_a_search_is_announced_and_needs_more_memory(wide, capsys, monkeypatch):
    def downscale_all(model, params, pictures, *_, **__):
        for hr in pictures:
            yield np.zeros((hr.shape[0] // 4, hr.shape[1] // 4, 3), np.float32)

    monkeypatch.setattr(sampling, "downscale_all", downscale_all)
    assert cli.main(["downscale", "wide.png"]) == 0
    assert capsys.readouterr().err == ""
    assert cli.main(["downscale", "wide.png", "--refine", "5"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("wide.png: 175×100 pixels, 1 tile, 5 steps of search in each, about 1.")
    assert cli.main(["downscale", "wide.png", "--refine", "5", "--memory", "800M"]) == 2
    assert " GB with --refine, more than --memory allows" in capsys.readouterr().err


@pytest.mark.parametrize("free, options, expected", [
    (8.0, [], 1024),
    (1.8, [], 768),
    (1.2, [], 512),
    (0.8, [], 256),
    (0.9, ["--memory", "4G"], 1024),
    (8.0, ["--memory", "900 MB"], 768),
    (8.0, ["--tile", "256"], 256),
    (0.9, ["--tile", "512"], 512),
])  # fmt: skip
def test_the_tile_fits_the_memory(wide, capsys, monkeypatch, free, options, expected):
    asked = []
    sample_all = sampling.sample_all

    def watched(*args, **named):
        asked.append(args[5])
        return sample_all(*args, **named)

    monkeypatch.setattr(sampling, "sample_all", watched)
    monkeypatch.setattr(memory, "available", lambda: int(free * 10**9))
    assert cli.main(["upscale", "wide.png", *options]) == 0
    line = capsys.readouterr().err
    assert asked == [expected] and (f" of {expected} pixels" in line) == (expected != 1024)


def test_too_little_memory_is_refused_where_it_was_named(wide, capsys):
    assert cli.main(["upscale", "wide.png", "--memory", "300M"]) == 2
    err = capsys.readouterr().err
    assert "hcflow itself takes 0." in err and "--memory" in err and err.count("\n") == 1
    little = f"{memory.PROGRAM_BYTES // 10**6 + 2}M"
    assert cli.main(["upscale", "wide.png", "--memory", little]) == 2
    assert "2800×1600, takes about 0." in capsys.readouterr().err
    assert cli.main(["upscale", "wide.png", "--memory", "much"]) == 2
    assert "'much' is no amount of memory; give 4G or 800M" in capsys.readouterr().err
    assert not os.path.exists("wide_x4.png")


@pytest.mark.parametrize("capacity, options, expected", [
    (None, [], 1),
    (None, ["--batch", "3"], 3),
    (80, [], 16),
    (8, [], 8),
    (8, ["--tile", "512"], 16),
    (1, [], 1),
    (80, ["--memory", "1.5G"], 2),
])  # fmt: skip
def test_batches_fill_the_device(wide, monkeypatch, capacity, options, expected):
    asked = []

    def sample_all(model, params, pictures, *_, batch, **__):
        asked.append(batch)
        for lr, _ in pictures:
            yield sampling.Sample(np.zeros((4 * lr.shape[0], 4 * lr.shape[1], 3), np.float32))

    monkeypatch.setattr(sampling, "sample_all", sample_all)
    bytes_limit = None if capacity is None else capacity * 10**9
    monkeypatch.setattr(memory.devices, "local_memory", lambda: bytes_limit)
    assert cli.main(["upscale", "wide.png", *options]) == 0
    assert asked == [expected]


def test_downscaling_takes_batches_too(wide, monkeypatch):
    asked = []

    def downscale_all(model, params, pictures, tile, progress, batch, **__):
        asked.append(batch)
        for hr in pictures:
            yield np.zeros((hr.shape[0] // 4, hr.shape[1] // 4, 3), np.float32)

    monkeypatch.setattr(sampling, "downscale_all", downscale_all)
    assert cli.main(["downscale", "wide.png", "--batch", "3"]) == 0
    assert asked == [3]


def test_batches_are_numbers(wide, capsys):
    assert cli.main(["upscale", "wide.png", "--batch", "0"]) == 2
    assert "'0' is not a whole number" in capsys.readouterr().err


def test_more_takes_more():
    def need(side=500, tile=1024, kept=3, batch=1, windows=1):
        held = memory.of_results((side, side), 4, kept)
        return memory.needed(SR, (side, side), tile, held, batch, windows)

    assert need(tile=256) < need(tile=512) < need() < need(side=1000) < need(side=1000, kept=6)
    assert 0.5 < (need(side=4000) - need(side=2000)) / (16000**2 - 8000**2) < 2
    assert need(side=4000) < 1.5e9
    assert need(batch=16) == need(windows=16) == need()  # batches are no larger than the work
    assert need() < need(batch=16, windows=3) < need(batch=16, windows=100)
    assert memory.available() > 0


@pytest.mark.parametrize("unit", ["tile", "step"])
def test_time_left_and_total_are_told_where_there_is_no_terminal(capsys, monkeypatch, unit):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "LONG", 20)
    with progress.shown(10, unit) as report:
        report(10)
        for _ in range(10):
            now[0] += 20
            report(-1)
    assert capsys.readouterr().err.splitlines() == [
        "about 2 min 40 s left",
        f"10 {unit}s in 3 min 20 s",
    ]


def test_the_total_of_a_bar_does_not_grow(capsys, monkeypatch):
    import tqdm

    totals = []

    class Bar:
        n = total = 0

        def __init__(self, **options):
            assert options["unit"] == "tile"

        def refresh(self):
            totals.append((self.n, self.total))

        def close(self):
            pass

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.shown(5) as report:
        for count in (1, -1, 4, -1, -1, -1, -1):
            report(count)
    assert {total for _, total in totals} == {5} and totals[-1][0] == 5


def test_compiling_is_said_once_where_it_takes_long(capsys, monkeypatch):
    from jax import monitoring

    def compiled(seconds):
        monitoring.record_event_duration_secs(progress._LOWERED, 0.1)
        progress.time.sleep(seconds)
        monitoring.record_event_duration_secs(progress._COMPILED, seconds)

    with progress.shown():
        compiled(0.05)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "COMPILING_AFTER", 0.001)
    with progress.shown():
        compiled(0.3)
        compiled(0.3)
    assert capsys.readouterr().err == "compiling, once for pictures of about this size\n"


def test_jax_tells_when_it_lowers_and_compiles():
    import jax
    from jax import monitoring

    heard = []
    listen = lambda event, seconds, **_: heard.append(event)  # noqa: E731
    monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.jit(lambda x: x + len(heard)).lower(1.0).compile()
    finally:
        monitoring.unregister_event_duration_listener(listen)
    assert heard.index(progress._LOWERED) < heard.index(progress._COMPILED)
