"""Packs the photographs for training into one file.

    python experiments/shipped_weights/pack.py -o data.zip [--cache DIR] [--sources SOURCES.md]

The zip holds lossless WebP tiles of SIDE × SIDE pixels, those with the most detail first:
photographs shrunk by Lanczos by `FACTORS`, so that traces of compression vanish, and synthetic
pictures; the held-out photographs, cropped; and index.json: {"tiles": [[source, detail], …],
"sources": [{name, package, file, author, licence}, …], "held_out": [name, …]}.
"""

import argparse
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import photographs
import synthetic
from PIL import Image

SIDE = 192
FACTORS = (0.5, 0.3)
LOSSLESS = {"flower", "cvo9xd_keong_macan_srgb8", "tmshre_riaphotographs_srgb8"} | {
    "u76c0g_bliznaca_srgb8"
}
"""Photographs that were never compressed: used at full size too."""
LONGEST = 1920
"""Pixels that the longer side of a shrunk photograph has at most."""
PER_PHOTOGRAPH = 24
LEAST_DETAIL = 4.0
LIMIT = 52e6
"""Bytes of all photographs' tiles."""
SYNTHETIC = 160
HELD_OUT_SIZE = 640, 480
Image.MAX_IMAGE_PIXELS = None


def shrunk(image: Image.Image, factor: float) -> Image.Image:
    factor = min(factor, LONGEST / max(image.size) * 2 * factor)
    return image.resize([round(factor * side) for side in image.size], Image.Resampling.LANCZOS)


def detail(tile: Image.Image) -> float:
    """Mean squared error, on the 0–255 scale, of shrinking by 4 and enlarging again."""
    grey = tile.convert("L")
    small = grey.resize([side // 4 for side in grey.size], Image.Resampling.BICUBIC)
    again = small.resize(grey.size, Image.Resampling.BICUBIC)
    return float(np.mean(np.square(np.asarray(grey, float) - np.asarray(again, float))))


def cut(image: Image.Image):
    """Tiles that lie evenly spread side by side."""
    starts = [np.linspace(0, s - SIDE, s // SIDE).astype(int) for s in image.size]
    for top in starts[1]:
        for left in starts[0]:
            yield image.crop((left, top, left + SIDE, top + SIDE))


def best_tiles(photograph):
    """(source, detail, tile) of the photograph's most detailed tiles."""
    factors = (1.0, *FACTORS) if photograph.name in LOSSLESS else FACTORS
    found = []
    for factor in factors:
        for tile in cut(shrunk(photograph.image, factor)):
            found.append((photograph.name, detail(tile), tile))
    found.sort(key=lambda entry: -entry[1])
    return [entry for entry in found[:PER_PHOTOGRAPH] if entry[1] >= LEAST_DETAIL]


def encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, quality=60, method=3)
    return buffer.getvalue()


def held_out(photograph) -> Image.Image:
    """The middle of the shrunk photograph, sides divisible by 16."""
    image = shrunk(photograph.image, FACTORS[0])
    width, height = (min(a, b) // 16 * 16 for a, b in zip(image.size, HELD_OUT_SIZE, strict=True))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def sources_table(index) -> str:
    """Text of SOURCES.md: every photograph that has a tile, and the held-out ones apart."""
    used = {name for name, _ in index["tiles"]}
    parts = []
    for title, names in (("Training photographs", used), ("Held out", set(index["held_out"]))):
        rows = [source for source in index["sources"] if source["name"] in names]
        parts.append(f"## {title} ({len(rows)})\n\n| picture | package | file | author | licence |")
        parts[-1] += "\n|---|---|---|---|---|\n"
        parts[-1] += "".join("| " + " | ".join(row.values()) + " |\n" for row in rows)
    head = (
        "# Sources of these photographs\n\nShrunk by Lanczos, cut to tiles, otherwise unchanged; "
        "none of them is distributed here. Authors and licences as each package's copyright file "
        "gives them for the file, or where it names no such file, for the whole package."
    )
    return "\n\n".join([head, *parts])


def pack(output: Path, cache: Path) -> dict:
    tiles, sources, kept, small = [], [], [], []
    for photograph in photographs.read(cache):
        fields = ("name", "package", "file", "author", "licence")
        sources.append({field: getattr(photograph, field) for field in fields})
        if photograph.name in photographs.HELD_OUT:
            kept.append((photograph.name, held_out(photograph)))
        else:
            tiles += best_tiles(photograph)
            small.append(photograph.image.resize((256, 256)))
    tiles.sort(key=lambda entry: -entry[1])
    drawn = [("synthetic", detail(t), t) for t in synthetic.tiles(SYNTHETIC, SIDE, small)]
    with ThreadPoolExecutor(2) as pool, zipfile.ZipFile(output, "w") as archive:
        entries, total = [], 0
        for (name, score, _), data in zip(
            tiles + drawn, pool.map(encode, (t for *_, t in tiles + drawn)), strict=True
        ):
            if name != "synthetic" and total + len(data) > LIMIT:
                continue
            total += len(data)
            archive.writestr(f"tiles/{len(entries):05}.webp", data)
            entries.append([name, round(score, 2)])
        for name, image in kept:
            archive.writestr(f"held_out/{name}.webp", encode(image))
        index = {"tiles": entries, "sources": sources, "held_out": [name for name, _ in kept]}
        archive.writestr("index.json", json.dumps(index, indent=1))
    print(f"{len(entries)} tiles of {len(sources)} photographs, {output.stat().st_size} bytes")
    return index


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", required=True, type=Path)
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="of the packages")
    parser.add_argument("--sources", type=Path, help="write SOURCES.md here")
    arguments = parser.parse_args()
    index = pack(arguments.output, arguments.cache)
    if arguments.sources:
        arguments.sources.write_text(sources_table(index), encoding="utf-8")


if __name__ == "__main__":
    main()
