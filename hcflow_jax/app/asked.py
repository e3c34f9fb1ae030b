"""What pages may ask for, as values that were checked: nothing here needs JAX."""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

from hcflow_jax.app.jobs import Job
from hcflow_jax.app.sessions import Session, Stored
from hcflow_jax.errors import UserError, shown

MOST_SAMPLES, MOST_STEPS = 16, 20

_REGION = "x", "y", "width", "height"

NO_JOB = "what the page asks for is no JSON object; reload the page"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a job reads and writes, and how much: what all jobs have.

    Attributes:
      networks: of `app.networks`.
      root: the folder under which pictures may be evaluated, or None.
      max_pixels: of a picture that is read, and of all results of a job together.
    """

    networks: Any
    root: Any
    max_pixels: int


@dataclasses.dataclass(frozen=True)
class Upscale:
    """`samples` versions of `picture`, `scale` times as wide and high."""

    picture: Stored
    scale: float
    temperature: float
    seed: int
    samples: int


@dataclasses.dataclass(frozen=True)
class Draw:
    """A sample, or one on the way between two.

    Attributes:
      between: two numbers of samples; weight: where on the way from one to the other.
    """

    picture: Stored
    temperature: float
    seed: int
    between: tuple[int, int]
    weight: float


@dataclasses.dataclass(frozen=True)
class Redraw:
    """`state`, a result of the tab Explore, with a region drawn anew, as in sample `index`."""

    state: Stored
    region: tuple[int, int, int, int]
    index: int


@dataclasses.dataclass(frozen=True)
class Relevel:
    """`state` with its finest level, or else all the others, drawn anew, as in sample `index`."""

    state: Stored
    finest: bool
    index: int


@dataclasses.dataclass(frozen=True)
class Paint:
    """`state` at other temperatures.

    Attributes:
      brush: a grey picture: black is temperature 0, white `temperature`.
    """

    state: Stored
    temperature: float
    brush: Stored


@dataclasses.dataclass(frozen=True)
class Shrink:
    """A small picture, made to be restored, and what comes back of it.

    Attributes:
      jpeg: whether it is a JPEG, else a PNG.
      refine: steps of the search for one that restores better.
    """

    picture: Stored
    jpeg: bool
    refine: int


@dataclasses.dataclass(frozen=True)
class Restore:
    """A small picture brought back."""

    picture: Stored


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """A report of the pictures in `folder`, below the root."""

    folder: str
    task: str
    temperatures: tuple[float, ...]
    samples: int


def job(data: Any, session: Session, place: Place) -> Callable[[Job], dict]:
    """What a page's request, JSON values, makes a job do; UserError where it is not understood."""
    if not isinstance(data, dict):
        raise UserError(NO_JOB)
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UserError(f"{shown(kind, 40)!r} is none of {', '.join(_KINDS)}; reload the page")
    read, module = _KINDS[kind]
    request = read(data, session)

    def work(job):
        return getattr(importlib.import_module(module), kind)(request, job, place)

    return work


def _upscale(data, session):
    temperature, samples = _temperature(data), _whole(data, "samples", 1, MOST_SAMPLES, 1)
    if samples > 1 and temperature == 0:
        raise UserError(f"{samples} samples at temperature 0 would be the same; raise it")
    return Upscale(
        _stored(data, "picture", session),
        _number(data, "scale", 1, 64, 4),
        temperature,
        _seed(data, "seed"),
        samples,
    )


def _draw(data, session):
    between = data.get("between", [0, 0])
    if not isinstance(between, list) or len(between) != 2:
        raise UserError("no two samples to blend were sent; give their numbers")
    return Draw(
        _stored(data, "picture", session),
        _temperature(data),
        _seed(data, "seed"),
        tuple(_seed({"between": index}, "between") for index in between),
        _number(data, "weight", 0, 1, 0),
    )


def _redraw(data, session):
    region = data.get("region")
    if not isinstance(region, list) or len(region) != 4:
        raise UserError("no region of x, y, width and height was sent; draw one on the picture")
    sides = tuple(_seed({n: v}, n) for n, v in zip(_REGION, region, strict=True))
    return Redraw(_stored(data, "state", session), sides, _seed(data, "index"))


def _relevel(data, session):
    level = data.get("level")
    if level not in ("fine", "coarse"):
        raise UserError(f"level {shown(level, 40)!r} is neither fine nor coarse")
    return Relevel(_stored(data, "state", session), level == "fine", _seed(data, "index"))


def _paint(data, session):
    return Paint(
        _stored(data, "state", session), _temperature(data), _stored(data, "brush", session)
    )


def _shrink(data, session):
    kind = data.get("format", "png")
    if kind not in ("png", "jpg"):
        raise UserError(f"format {shown(kind, 40)!r} is neither png nor jpg; choose one")
    refine = _whole(data, "refine", 0, MOST_STEPS, 0)
    return Shrink(_stored(data, "picture", session), kind == "jpg", refine)


def _restore(data, session):
    return Restore(_stored(data, "picture", session))


def _evaluate(data, session):
    folder, task = data.get("folder"), data.get("task", "sr")
    if not isinstance(folder, str):
        raise UserError(f"{shown(folder, 40)!r} is no name of a folder; choose one of the list")
    if task not in ("sr", "rescaling"):
        raise UserError(f"task {shown(task, 40)!r} is neither sr nor rescaling; choose one")
    found = _temperatures(data.get("temperatures", [0]))
    return Evaluate(folder, task, found, _whole(data, "samples", 1, MOST_SAMPLES, 1))


def _temperatures(listed):
    """A list of them, each once."""
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_SAMPLES:
        raise UserError(
            f"temperatures {shown(listed, 40)!r} are no list of 1 to {MOST_SAMPLES} numbers; give "
            "such as 0, 0.5, 0.9"
        )
    return tuple(dict.fromkeys(_temperature({"temperature": value}) for value in listed))


_KINDS = {
    "upscale": (_upscale, "hcflow_jax.app.upscaling"),
    "draw": (_draw, "hcflow_jax.app.exploring"),
    "redraw": (_redraw, "hcflow_jax.app.exploring"),
    "relevel": (_relevel, "hcflow_jax.app.exploring"),
    "paint": (_paint, "hcflow_jax.app.exploring"),
    "shrink": (_shrink, "hcflow_jax.app.shrinking"),
    "restore": (_restore, "hcflow_jax.app.shrinking"),
    "evaluate": (_evaluate, "hcflow_jax.app.evaluating"),
}
"""{kind: (its reader, the module whose function of that name does it)}; those need JAX."""


def _stored(data, name, session):
    return session.file(data.get(name))


def _temperature(data):
    return _number(data, "temperature", 0, 2, 0)


def _seed(data, name):
    return _whole(data, name, 0, 2**31 - 1, 0)


def _number(data, name, least, most, default):
    value = data.get(name, default)
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if not known or not least <= value <= most:  # nor is NaN
        given = "is missing" if value is None else f"is {shown(value, 40)!r}"
        raise UserError(f"{name} {given}; give a number from {least:,} to {most:,}")
    return value


def _whole(data, name, least, most, default):
    value = _number(data, name, least, most, default)
    if value != int(value):
        raise UserError(f"{name} {shown(value, 40)!r} is not whole; give a number without a point")
    return int(value)
