"""What an evaluation compares: interpolation, and networks at temperatures."""

import dataclasses
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hcflow_jax import checkpoints, sampling
from hcflow_jax.checkpoints import hashes, weights
from hcflow_jax.errors import UserError, counted, shown
from hcflow_jax.model import HCFlow, NetworkDtype

TEMPERATURES = {"sr": (0.0, 0.5, 0.9), "rescaling": (0.0,)}
"""Those of an evaluation that names none, by task."""


SHIPPED = "shipped"
"""The name, in place of a path, of the network that ships with the package."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A checkpoint: its label in tables and file names, where it came from, and its hash."""

    label: str
    path: str
    model: HCFlow
    params: dict = dataclasses.field(repr=False, compare=False)
    digest: str

    def facts(self) -> dict:
        """JSON values for a report."""
        size = checkpoints.parameter_count(self.model)
        known = {"label": self.label, "path": self.path, "task": self.model.task}
        known |= {"dtype": self.model.dtype}
        return known | {"scale": self.model.scale, "parameters": size, "sha256": self.digest}


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of the tables: how results are made from LR pictures.

    Attributes:
      name: unique in a report, fit for file names.
      network: None for interpolation.
      samples: drawn for each picture.
      back_project: steps of back-projection after the network.
      refine: steps of the search for small pictures before it.
    """

    name: str
    network: Network | None = None
    temperature: float | None = None
    samples: int = 1
    back_project: int = 0
    refine: int = 0

    @property
    def title(self) -> str:
        """The name for readers."""
        if self.network is None:
            return {"bicubic": "bicubic", "lanczos": "Lanczos"}[self.name]
        after = f", back-projected {self.back_project}×" if self.back_project else ""
        before = f", refined in {counted(self.refine, 'step')}" if self.refine else ""
        return f"{self.network.label}, T = {self.temperature:g}{before}{after}"

    @property
    def task(self) -> str:
        """The network's, or "" for interpolation."""
        return self.network.model.task if self.network else ""

    def facts(self, seed: int) -> list:
        """All that decides the results beside the pictures."""
        if self.network is None:
            return [self.name]
        drawn = [self.samples, seed] if self.temperature else []
        after = {"back_project": self.back_project} if self.back_project else {}
        before = {"refine": self.refine} if self.refine else {}
        return [self.network.digest, self.temperature, *drawn, *after.items(), *before.items()]


def load(
    paths: Sequence[str], task: str | None, scale: int | None, dtype: NetworkDtype | None = None
) -> list[Network]:
    """The networks of checkpoints, each once; without any, the shipped one.

    Args:
      paths: of checkpoints; SHIPPED stands for the shipped one.
      task, scale, dtype: as `sampling.load` takes them.

    CheckpointError when one cannot be read; UserError when their scales differ.
    """
    paths = list({os.path.realpath(path): path for path in paths or [SHIPPED]}.values())
    networks = []
    for path, label in zip(paths, _labels(paths), strict=True):
        place = None if path == SHIPPED else path
        model, params = sampling.load(place, task, scale, dtype=dtype)
        label = f"{SHIPPED}_{model.task}" if path == SHIPPED else label
        networks.append(Network(label, shown(path), model, params, _digest(model, params)))
    scales = sorted({network.model.scale for network in networks})
    if len(scales) > 1:
        raise UserError(
            f"the checkpoints are of scales {' and '.join(map(str, scales))}; evaluate one scale "
            "at a time"
        )
    return networks


def methods(
    networks: Sequence[Network],
    temperatures: Sequence[float] | None,
    samples: int,
    back_project: int = 0,
    refine: int = 0,
) -> list[Method]:
    """Bicubic, Lanczos, then every network at every temperature; at 0 with a single sample.

    `back_project` is for super-resolution, whose LR pictures are bicubic's, `refine` for rescaling.
    """
    found = [Method("bicubic"), Method("lanczos")]
    for network in networks:
        named = {f"{t:g}": t for t in reversed(temperatures or TEMPERATURES[network.model.task])}
        for tau in reversed(named.values()):  # of those that print alike, the first
            drawn = samples if tau else 1
            sr = network.model.task == "sr"
            after, before = (back_project, 0) if sr else (0, refine)
            steps = f"_bp{after}" if after else f"_r{before}" if before else ""
            name = f"{network.label}_T{tau:g}{steps}"
            found.append(Method(name, network, tau, drawn, after, before))
    return found


def _labels(paths):
    """A short name of each path: of as many of its last parts as make all different."""
    files = [Path(path).absolute() for path in paths]
    files = [f.with_suffix("") if f.suffix.lower() in weights.SUFFIXES else f for f in files]
    parts = [[re.sub(r"[^\w.-]+", "_", part) for part in f.parts[1:]] for f in files]
    parts = [[part for part in found if part != "checkpoints"] or ["root"] for found in parts]
    labels = []
    for found in parts:
        depth = 2 if found[-1].isdecimal() else 1
        while depth < len(found) and _shared(found, parts, depth):
            depth += 1
        labels.append("_".join(found[-depth:])[-60:])
    seen = Counter()
    for i, label in enumerate(labels):
        seen[label] += 1
        labels[i] = label if seen[label] == 1 else f"{label}_{seen[label]}"
    return labels


def _shared(found, parts, depth):
    return sum(other[-depth:] == found[-depth:] for other in parts) > 1


def _digest(model, params):
    """The SHA-256 of a network: its fields and the hash of every array."""
    facts = [checkpoints.model_config(model), hashes.of_arrays(params)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
