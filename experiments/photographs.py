"""Make a training folder of photographs from four Debian wallpaper packages.

    python experiments/photographs.py -o DIR [--deb-cache DIR]

Downloads the packages with ``apt-get download`` (unless the cache holds them), unpacks them with
``dpkg-deb -x``, shrinks 37 photographs by Lanczos so that compression artefacts of the originals
vanish, and writes one PNG each plus ``SOURCES.md`` (package, file, author and licence).
Needs Debian or a descendant with these packages in its archive (Debian 12 has all four).
"""

import argparse
import fnmatch
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

LONGEST = 1536
HALVE_FROM = 1920

LOMIRI = "usr/share/backgrounds/{}_by_*.jpg"
MATE = "usr/share/backgrounds/mate/nature/{}.jpg"
PLASMA = "usr/share/wallpapers/{}/contents/images/*.jpg"
PHOTOGRAPHS = {
    ("lomiri-wallpapers-16.04", LOMIRI): (
        "Bridge Dragonfly Picture_0B Picture_1A Wine aitzgorri free friends greentock life "
        "picosdeeuropa seeding sunset"
    ),
    ("lomiri-wallpapers-20.04", LOMIRI): "Kleiber",
    ("mate-backgrounds", MATE): (
        "Aqua Blinds Dune Garden GreenMeadow LadyBird RainDrops Storm TwoWings Wood YellowFlower"
    ),
    ("plasma-workspace-wallpapers", PLASMA): (
        "Autumn BytheWater ColdRipple ColorfulCups EveningGlow FallenLeaf Grey Kite OneStandsOut "
        "Path Volna summer_1am"
    ),
}


class PhotographError(Exception):
    """One line for the user: what failed and what to do about it."""


@dataclass(frozen=True)
class Source:
    """Where one picture comes from, as ``SOURCES.md`` tells it."""

    name: str
    package: str
    file: str
    author: str
    licence: str


def run(command: list[str], folder: Path) -> None:
    """Run a system tool in `folder`; PhotographError when it is missing or fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        raise PhotographError(
            f"{command[0]} is not installed; run this on Debian or Ubuntu"
        ) from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise PhotographError(
            f"{' '.join(command)} failed: {last}; refresh the package lists with apt-get update, "
            "or remove the file from the cache"
        )


def package_file(package: str, cache: Path) -> Path:
    """The package's .deb in `cache`, downloaded there when absent."""
    found = sorted(cache.glob(f"{package}_*.deb"))
    if not found:
        print(f"downloading {package}", flush=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            run(["apt-get", "download", package], Path(scratch))
            for deb in Path(scratch).glob("*.deb"):
                os.replace(deb, cache / deb.name)
        found = sorted(cache.glob(f"{package}_*.deb"))
    if not found:
        raise PhotographError(f"apt-get download left no {package}_*.deb in {cache}")
    return found[-1]


def largest_landscape(files: list[Path]) -> Path:
    """The file of most pixels among those wider than tall, or among all when none is."""

    def rank(file: Path) -> tuple[bool, int]:
        with Image.open(file) as image:
            return image.width > image.height, image.width * image.height

    return max(files, key=rank)


def stanzas(copyright_text: str) -> list[dict[str, str]]:
    """Paragraphs of a machine-readable Debian copyright file as {field: value}."""
    found = []
    for paragraph in copyright_text.split("\n\n"):
        fields: dict[str, str] = {}
        key = ""
        for line in paragraph.splitlines():
            if line.startswith((" ", "\t")):
                fields[key] = f"{fields.get(key, '')}\n{line.strip()}".strip()
            elif ":" in line:
                key, value = line.split(":", 1)
                fields[key] = value.strip()
        found.append(fields)
    return found


def credit(root: Path, package: str, file: Path) -> tuple[str, str]:
    """(author, licence) of `file`: the last matching stanza, and the wallpaper's own metadata."""
    text = (root / "usr/share/doc" / package / "copyright").read_text(encoding="utf-8")
    inside = str(file.relative_to(root))
    author = licence = ""
    for stanza in stanzas(text):
        patterns = stanza.get("Files", "").split()
        if any(fnmatch.fnmatch(inside, p) or Path(p).name == file.name for p in patterns):
            holders = re.sub(r"\s*<[^>]*>[^\w\n]*", "", stanza["Copyright"])
            author = "; ".join(holders.splitlines())
            licence = stanza["License"].splitlines()[0]
    if not author:
        raise PhotographError(f"the copyright file of {package} does not name {inside}")
    metadata = file.parents[2] / "metadata.json"
    if metadata.is_file():
        plugin = json.loads(metadata.read_text(encoding="utf-8"))["KPlugin"]
        names = ", ".join(person["Name"] for person in plugin["Authors"])
        author = f"{names} (metadata.json); package: {author}"
        licence = f"{plugin['License']} (metadata.json); package: {licence}"
    return author, licence


def small_size(width: int, height: int) -> tuple[int, int]:
    """Size with the longer side at most LONGEST px, and at most half when it was HALVE_FROM px."""
    longer = max(width, height)
    factor = min(1.0, LONGEST / longer, 0.5 if longer >= HALVE_FROM else 1.0)
    return round(width * factor), round(height * factor)


def save(original: Path, target: Path) -> tuple[int, int]:
    """Shrink `original` into the PNG `target`, whole or not at all; its size in px."""
    with Image.open(original) as image:
        rgb = image.convert("RGB")
    size = small_size(*rgb.size)
    temporary = target.with_name(f".{target.name}.part")
    rgb.resize(size, Image.Resampling.LANCZOS).save(temporary, format="PNG")
    os.replace(temporary, target)
    return size


def convert_package(package: str, deb: Path, target: Path) -> list[Source]:
    """Write the listed photographs of one package into the folder `target`."""
    sources = []
    chosen = [(p, names) for (name, p), names in PHOTOGRAPHS.items() if name == package]
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        run(["dpkg-deb", "-x", str(deb.resolve()), "."], root)
        for pattern, names in chosen:
            for name in names.split():
                files = [f for f in sorted(root.glob(pattern.format(name))) if not f.is_symlink()]
                if not files:
                    raise PhotographError(f"{deb.name} holds no {pattern.format(name)}")
                file = largest_landscape(files)
                author, licence = credit(root, package, file)
                width, height = save(file, target / f"{name}.png")
                inside = str(file.relative_to(root))
                sources.append(Source(name, package, inside, author, licence))
                print(f"{name}.png  {width} x {height}  {licence}", flush=True)
    return sources


def sources_table(sources: list[Source], debs: dict[str, Path]) -> str:
    """Text of SOURCES.md."""
    versions = ", ".join(deb.name.removesuffix(".deb") for deb in debs.values())
    lines = [
        "# Sources of these photographs",
        "",
        f"From the Debian packages {versions}. Shrunk by Lanczos to at most {LONGEST} px and saved "
        "as PNG; otherwise unchanged. Authors and licences as each package's "
        "`usr/share/doc/<package>/copyright` gives them; where the wallpaper's own "
        "`metadata.json` says something else, both are given.",
        "",
        "| picture | package | file | author | licence |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {s.name}.png | {s.package} | {s.file} | {s.author} | {s.licence} |" for s in sources
    ]
    return "\n".join(lines) + "\n"


def make(target: Path, cache: Path) -> None:
    """Fill `target` with the PNGs and SOURCES.md."""
    for folder in (target, cache):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PhotographError(
                f"cannot make the folder {folder}: {error.strerror}; choose another"
            ) from None
    debs = {package: package_file(package, cache) for package, _ in PHOTOGRAPHS}
    sources = [s for package, deb in debs.items() for s in convert_package(package, deb, target)]
    temporary = target / ".SOURCES.md.part"
    temporary.write_text(sources_table(sources, debs), encoding="utf-8")
    os.replace(temporary, target / "SOURCES.md")
    print(f"{len(sources)} photographs in {target}")


def main() -> int:
    """Command line; 0 when all pictures are written, 1 after a one-line error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--deb-cache",
        type=Path,
        metavar="DIR",
        help="where the packages are kept (default: OUTPUT/.deb)",
    )
    arguments = parser.parse_args()
    try:
        make(arguments.output, arguments.deb_cache or arguments.output / ".deb")
    except (PhotographError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
