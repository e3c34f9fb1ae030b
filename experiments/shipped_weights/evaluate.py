"""Quality of weights on photographs of no training.

    python experiments/shipped_weights/evaluate.py DATA.zip [--sr PATH] [--rescaling PATH]
        [--scale 4] [--lpips DIR] [--pictures DIR]

Two sets: scikit-image's and scikit-learn's seven, and DATA's held-out ones. 8-bit images, a border
of `scale` pixels left out, BT.601 luma not rounded; LR images are MATLAB's imresize, rescaling's
are its own; the temperatures average SAMPLES samples. "LR" is PSNR (RGB) between the result's
bicubic LR and the given one, or of rescaling's small picture to bicubic's. DIR holds alexnet.npz
(`lpips.py`).
"""

import argparse
from pathlib import Path

import lpips
import numpy as np
import skimage.data
import sklearn.datasets
from batches import Tiles
from PIL import Image

from hcflow_jax import sampling
from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize

TEMPERATURES = (0.0, 0.5, 0.8)
SAMPLES = 2


def seven() -> dict[str, np.ndarray]:
    """The photographs that scikit-image and scikit-learn bring."""
    names = ("astronaut", "chelsea", "coffee", "rocket")
    found = {name: getattr(skimage.data, name)() for name in names}
    found["motorcycle"] = skimage.data.stereo_motorcycle()[0]
    for name in ("china", "flower"):
        found[name] = sklearn.datasets.load_sample_image(f"{name}.jpg")
    return found


class Judge:
    """Scores of results against one photograph."""

    def __init__(self, hr, scale, alexnet):
        self.hr, self.scale, self.alexnet = hr, scale, alexnet

    def __call__(self, image, lr):
        image = image if image.dtype == np.uint8 else metrics.to_uint8(image)
        row = [
            metrics.psnr_y(image, self.hr, self.scale),
            metrics.ssim_y(image, self.hr, self.scale),
        ]
        row.append(metrics.psnr(imresize(image, 1 / self.scale), lr))
        if self.alexnet:
            a, b = (x[None].astype(np.float32) / 255 for x in (image, self.hr))
            row.append(float(lpips.distance("alexnet", self.alexnet, a, b)[0]))
        return np.array(row)


def lanczos(lr, scale):
    size = [scale * side for side in lr.shape[1::-1]]
    return np.asarray(Image.fromarray(lr).resize(size, Image.Resampling.LANCZOS))


def results(lr, hr, scale, sr, rescaling):
    """{name: [(image, its small picture)]} of one photograph."""
    small = lr.astype(np.float32) / 255
    found = {"bicubic": [(imresize(lr, scale), lr)], "Lanczos": [(lanczos(lr, scale), lr)]}
    if rescaling:
        own = metrics.to_uint8(sampling.downscale(*rescaling, hr.astype(np.float32) / 255))
        image = sampling.sample(*rescaling, own.astype(np.float32) / 255, 0.0)
        found["restored"] = [(image, lr)]
        found["small"] = [own]
    for t in TEMPERATURES if sr else ():
        count = SAMPLES if t else 1
        images = [sampling.sample(*sr, small, t, index=i) for i in range(count)]
        found[f"SR T={t:g}"] = [(image, lr) for image in images]
    return found


def table(photographs, scale, sr, rescaling, alexnet, pictures):
    rows = {}
    for name, hr in photographs.items():
        hr = hr[: hr.shape[0] // scale * scale, : hr.shape[1] // scale * scale]
        lr = imresize(hr, 1 / scale)
        judge = Judge(hr, scale, alexnet)
        found = results(lr, hr, scale, sr, rescaling)
        own = found.pop("small", [None])[0]
        for title, images in found.items():
            row = np.mean([judge(*image) for image in images], axis=0)
            if title == "restored":
                row[2] = metrics.psnr(own, lr)
            rows.setdefault(title, []).append(row)
            if pictures:
                image = images[0][0]
                image = image if image.dtype == np.uint8 else metrics.to_uint8(image)
                Image.fromarray(image).save(pictures / f"{name} {title}.png")
        if pictures:
            Image.fromarray(hr).save(pictures / f"{name}.png")
    print(f"\n| mean of {len(photographs)} | PSNR-Y | SSIM-Y | LR | LPIPS |\n|---|---|---|---|---|")
    for title, values in rows.items():
        psnr, ssim, small, *distance = np.mean(values, axis=0)
        tail = " | ".join([f"{small:.2f}", *(f"{v:.3f}" for v in distance)])
        print(f"| {title} | {psnr:.2f} | {ssim:.3f} | {tail} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="zip written by pack.py")
    parser.add_argument("--sr", help="weights; 'shipped' for those in the package")
    parser.add_argument("--rescaling", help="likewise")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--lpips", type=Path, help="folder of alexnet.npz")
    parser.add_argument("--pictures", type=Path, help="write all results here")
    args = parser.parse_args()
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    models = [
        sampling.load(None if path == "shipped" else path, task, args.scale) if path else None
        for task, path in (("sr", args.sr), ("rescaling", args.rescaling))
    ]
    alexnet = lpips.load(args.lpips, "alexnet") if args.lpips else None
    for photographs in (seven(), Tiles(args.data).held_out):
        table(photographs, args.scale, *models, alexnet, args.pictures)


if __name__ == "__main__":
    main()
