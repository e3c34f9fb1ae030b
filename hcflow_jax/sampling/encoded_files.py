"""Encoded pictures as files: an .npz of plain arrays, of one model's weights.

lr [h, w, 3], latents_0 (finest), latents_1, … as in `EncodedPicture`, float32; alpha [H, W],
float32, of a transparent picture; profile [N], uint8, the bytes of its colour profile, where
it has one; info, JSON as text: that of `Info`.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from hcflow_jax import images
from hcflow_jax.checkpoints import hashes
from hcflow_jax.checkpoints.npz import read_npz
from hcflow_jax.errors import UserError
from hcflow_jax.images import colour
from hcflow_jax.model import HCFlow
from hcflow_jax.sampling.encoding import EncodedPicture

FORMAT = 1
"""Number of this format; others are refused."""

_INFO_BYTES = 10_000
_PROFILE_BYTES = 16_000_000  # a JPEG holds no more


@dataclasses.dataclass(frozen=True)
class Info:
    """What an encoded file says of itself.

    Attributes:
      task, scale: of the model.
      height, width: of the picture.
      grey: its pixels had three equal channels.
      tile: side of the windows in which it was encoded, and comes back exactly.
      weights: `checkpoints.hashes.fingerprint` of the model's parameters.
      format: FORMAT.
    """

    task: str
    scale: int
    height: int
    width: int
    grey: bool
    tile: int
    weights: str
    format: int = FORMAT


def write_encoded(
    path: str | Path,
    model: HCFlow,
    params,
    encoded: EncodedPicture,
    tile: int,
    grey: bool = False,
    alpha: np.ndarray | None = None,
    profile: bytes | None = None,
) -> None:
    """Writes an encoded picture, whole or not at all; ImageError when that fails."""
    weights = hashes.fingerprint(params)
    info = Info(model.task, model.scale, *encoded.size, grey, tile, weights)
    arrays: dict[str, Any] = {"lr": encoded.lr}
    arrays |= {f"latents_{i}": latent for i, latent in enumerate(encoded.latents)}
    if alpha is not None:
        arrays["alpha"] = alpha
    if profile:
        arrays["profile"] = np.frombuffer(profile, np.uint8)
    arrays["info"] = np.array(json.dumps(dataclasses.asdict(info)))
    images.write_beside(path, lambda file: np.savez(file, **arrays))


def read_info(path: str | Path, max_pixels: int = images.MAX_PIXELS) -> Info:
    """What a file says of itself; its arrays are not read.

    UserError when it is no encoded picture, of another format, or of more than `max_pixels`.
    """
    path = Path(path)

    def check(headers):
        header = headers.get("info")
        if header is None or header.dtype.kind != "U" or header.size > _INFO_BYTES:
            raise UserError(f"{path} is no encoded picture; make one by `hcflow encode`")
        return ["info"]

    info = _parsed(path, read_npz(path, check)["info"])
    if (pixels := info.height * info.width) > max_pixels:
        raise UserError(
            f"{path} is a picture of {pixels:,} pixels, more than {max_pixels:,}; allow more by "
            "--max-pixels"
        )
    return info


def _parsed(path, text):
    kinds = {field.name: field.type for field in dataclasses.fields(Info)}
    try:
        values = json.loads(str(text))
        found = values["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} does not say what it holds; encode the picture again") from error
    if found != FORMAT:
        raise UserError(f"{path} has format {found!r}, not {FORMAT}; decode it by its own hcflow")
    types = {name: type(value) for name, value in values.items()}
    if types != kinds or min(values["height"], values["width"], values["scale"]) < 1:
        raise UserError(f"{path} says nonsense of itself; encode the picture again")
    return Info(**values)


def read_encoded(
    path: str | Path, info: Info, model: HCFlow, params
) -> tuple[EncodedPicture, np.ndarray | None, bytes | None]:
    """(encoded picture, its alpha or None, its colour profile or None) of a file.

    For the model and weights that made it.

    UserError when those are others, or arrays are missing or not those of such a picture; they are
    compared before memory is taken.
    """
    path = Path(path)
    weights = hashes.fingerprint(params)
    if info.weights != weights:
        raise UserError(
            f"{path} was encoded by other weights (SHA-256 {info.weights[:12]}…) than these "
            f"({weights[:12]}…); name its own by --checkpoint"
        )
    sides = (-(-side // model.scale) for side in (info.height, info.width))
    lr_shape = (1, *sides, model.image_channels)
    latents = [shape[1:] for shape in model.latent_shapes(lr_shape)]
    expected = {"lr": lr_shape[1:]} | {f"latents_{i}": shape for i, shape in enumerate(latents)}
    optional = {"alpha": (info.height, info.width)}

    def check(headers):
        profile = headers.get("profile")
        if profile and (profile.dtype != np.uint8 or profile.size > _PROFILE_BYTES):
            raise UserError(f"{path}: its colour profile is damaged; encode the picture again")
        for name, shape in (expected | optional).items():
            header = headers.get(name)
            if header is None and name not in optional:
                raise UserError(f"{path} holds no {name}; encode the picture again")
            if header is not None and (header.shape, header.dtype) != (shape, np.float32):
                raise UserError(
                    f"{path}: {name} is {header.dtype} {header.shape}, not float32 {shape}; "
                    "encode the picture again"
                )
        return [name for name in (*expected, *optional, "profile") if name in headers]

    arrays = read_npz(path, check)
    found = tuple(arrays[f"latents_{i}"] for i in range(len(latents)))
    picture = EncodedPicture(arrays["lr"], found, (info.height, info.width))
    return picture, arrays.get("alpha"), _profile(path, arrays.get("profile"))


def _profile(path, values):
    """The bytes of a profile; None where there is none."""
    if values is None:
        return None
    profile = values.tobytes()
    try:
        colour.check(profile, colour.space(profile))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: its colour profile is damaged; encode the picture again"
        ) from error
    return profile
