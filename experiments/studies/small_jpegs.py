"""Small pictures as JPEGs: what is restored of them, beside bicubic and codecs of equal bytes.

    pip install scikit-image scikit-learn
    python experiments/studies/small_jpegs.py [--checkpoint PATH] [--folder DIR]

Means over photographs at every quality, of JPEGs with whole chroma, as `hcflow downscale` writes
them, and with halved chroma, as most other programs do; PNG last. Of "bicubic" the small picture is
MATLAB's and enlarged by bicubic interpolation, of "for PNG" and "for JPEG" those of the shipped
weights, and "codec" is the whole photograph at the highest quality whose file is not larger than
the small one of the weights for JPEG. PSNR-Y without a border of 4 pixels; "small" is the PSNR in
RGB of the small picture against bicubic's, before it is saved.
"""

import argparse
from pathlib import Path

import numpy as np
from equal_bytes import CODECS, decoded, encoded, largest_within
from seven import photographs

from hcflow_jax import sampling
from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize

SCALE = 4
QUALITIES = (50, 70, 90, 95)
WHOLE, HALVED = "4:4:4", "4:2:0"
KINDS = {f"JPEG {q}": {"quality": q, "subsampling": WHOLE} for q in QUALITIES}
KINDS |= {f"JPEG {q}, halved": {"quality": q, "subsampling": HALVED} for q in QUALITIES}
KINDS["PNG"] = {}


def saved(small: np.ndarray, kind: str) -> bytes:
    """The file of a small picture, of KINDS."""
    return encoded(small, kind.split()[0], optimize=True, **KINDS[kind])


def rows(models: dict, hr: np.ndarray):
    """Yields (kind, method, {"psnr_y", "bytes", "small"}) of a photograph."""
    bicubic = imresize(hr, 1 / SCALE)
    smalls = {"bicubic": bicubic}
    for name, model in models.items():
        found = sampling.downscale(*model, hr.astype(np.float32) / 255)
        smalls[name] = metrics.to_uint8(found)
    for kind in KINDS:
        for name, small in smalls.items():
            data = saved(small, kind)
            read = decoded(data)
            if name == "bicubic":
                large = imresize(read, SCALE)
            else:
                lr = read.astype(np.float32) / 255
                large = metrics.to_uint8(sampling.sample(*models[name], lr, 0.0))
            row = {"psnr_y": metrics.psnr_y(large, hr, SCALE), "bytes": len(data)}
            yield kind, name, row | {"small": metrics.psnr(small, bicubic)}
        for codec in CODECS:
            equal = largest_within(hr, codec, len(saved(smalls["for JPEG"], kind)))
            psnr = metrics.psnr_y(decoded(equal), hr, SCALE)
            yield kind, codec, {"psnr_y": psnr, "bytes": len(equal), "small": np.nan}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", help="of rescaling for JPEGs (default: the shipped one)")
    parser.add_argument("--folder", type=Path, help="of photographs (default: the seven)")
    args = parser.parse_args()
    models = {
        "for PNG": sampling.load(None, "rescaling", SCALE),
        "for JPEG": sampling.load(args.checkpoint, "rescaling", SCALE, jpeg=True),
    }
    table: dict = {}
    for hr in photographs(SCALE, args.folder).values():
        for kind, method, row in rows(models, hr):
            table.setdefault((kind, method), []).append([*row.values()])
    methods = list(dict.fromkeys(method for _, method in table))
    print("| saved as | " + " | ".join(methods) + " |\n" + "|---" * (len(methods) + 1) + "|")
    for kind in KINDS:
        means = {method: np.mean(table[kind, method], 0) for method in methods}
        texts = [f"{psnr:.2f} dB, {size / 1e3:.1f} kB" for psnr, size, _ in means.values()]
        print(f"| {kind} | {' | '.join(texts)} |")
    smalls = {name: np.mean(table["PNG", name], 0)[2] for name in models}
    print("small pictures:", ", ".join(f"{name} {psnr:.1f} dB" for name, psnr in smalls.items()))


if __name__ == "__main__":
    main()
