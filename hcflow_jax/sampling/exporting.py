"""Models as files that run without this package: StableHLO by `jax.export`, and ONNX.

In a file are the weights, and one program for whole pictures: nothing is cut into windows, and no
sample is checked or drawn again.
"""

import dataclasses
import functools
import logging
from collections.abc import Callable

import jax
import jax.numpy as jnp

from hcflow_jax.errors import UserError, needing
from hcflow_jax.model import HCFlow
from hcflow_jax.sampling.back_projection import back_projected

COMMANDS = {"upscale": "sr", "restore": "rescaling", "downscale": "rescaling"}
"""{command of `hcflow` whose work is exported: the task of models that do it}."""

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
"""Platforms that a StableHLO file is for."""

_FEWEST = 3
"""Sides, in LR pixels, from which back-projection mirrors borders in one step."""


def _portable(model, params):
    """(model, params) whose program is the same on every platform."""
    return dataclasses.replace(model, kernels="plain"), model.prepare(params)


def _downscaled(model, params, hr):
    return jnp.clip(model.encode(params, hr).lr, 0, 1)


def _check(model, command, size):
    """UserError where a model does not do the work of a command, or not at (width, height)."""
    task = COMMANDS[command]
    if model.task != task:
        raise UserError(f"{command} needs a model of {task}, not of {model.task}; name another")
    if size is None:
        return
    width, height = size
    if command == "downscale" and (width % model.scale or height % model.scale):
        raise UserError(
            f"a picture of {width}×{height} does not shrink to whole pixels; give a size that "
            f"divides by {model.scale}"
        )
    if min(size) < _FEWEST:
        raise UserError(f"{width}×{height} is too small; give {_FEWEST}×{_FEWEST} or more")


def _shape(model, command, size):
    """[1, height, width, C], or with symbolic sides and number of pictures."""
    if size is not None:
        return (1, *size[::-1], model.image_channels)
    constraints = [f"{side} >= {_FEWEST}" for side in "hw"]
    b, h, w = jax.export.symbolic_shape("b, h, w", constraints=constraints)
    factor = model.scale if command == "downscale" else 1
    return b, factor * h, factor * w, model.image_channels


def stablehlo(
    model: HCFlow,
    params,
    command: str,
    size: tuple[int, int] | None = None,
    back_project: int = 0,
) -> jax.export.Exported:
    """The work of one of COMMANDS as a program for PLATFORMS, its weights inside.

    `upscale` and `restore`: (lr float32 [b, h, w, C] in [0, 1], temperature float32, seed uint32)
    -> [b, s·h, s·w, C], clamped: `model.sample` with jax.random.key(seed). `downscale`: HR
    [b, s·h, s·w, C] -> LR [b, h, w, C], clamped. `serialize()` of the result is the file.

    Args:
      params: prepared or not.
      size: (width, height) of the one picture that the program takes; None for any number, and
        any size from 3 LR pixels a side.
      back_project: steps of `back_projected` after the flow.

    UserError when the model is for another task, or the size does not work.
    """
    _check(model, command, size)
    model, params = _portable(model, params)
    pictures = jax.ShapeDtypeStruct(_shape(model, command, size), jnp.float32)
    scalars = [jax.ShapeDtypeStruct((), dtype) for dtype in (jnp.float32, jnp.uint32)]

    def sample(lr, temperature, seed):
        hr = model.sample(params, jax.random.key(seed), lr, temperature)
        return jnp.clip(back_projected(lr, hr, back_project), 0, 1) if back_project else hr

    program: Callable
    if command == "downscale":
        program, inputs = functools.partial(_downscaled, model, params), [pictures]
    else:
        program, inputs = sample, [pictures, *scalars]
    program.__name__ = f"hcflow_{command}_x{model.scale}"
    return jax.export.export(jax.jit(program), platforms=PLATFORMS)(*inputs)


def converter() -> Callable:
    """jax2onnx's `to_onnx`; UserError where it is not installed."""
    with needing("onnx"):
        from jax2onnx import to_onnx
    # They warn, with tracebacks, of plugins for other libraries and of shapes they do not note.
    for name in ("jax2onnx", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return to_onnx


def onnx(model: HCFlow, params, command: str, size: tuple[int, int]) -> bytes:
    """The same, without back-projection, as an ONNX file for one picture of (width, height).

    `upscale` and `restore`: "lr" [1, h, w, C] and "latents_0" (the finest), "latents_1", … of
    `model.latent_shapes`, τ·N(0, 1), as ONNX has no random numbers that could be repeated -> "hr".
    `downscale`: "hr" -> "lr". Networks are of float32, whatever the model's dtype: runtimes for
    CPUs have no other convolutions. Loops are unrolled, as the converter knows none that run
    backwards. UserError as `stablehlo`, and where the converter is not installed.
    """
    to_onnx = converter()
    _check(model, command, size)
    model, params = _portable(dataclasses.replace(model, dtype="float32"), params)
    shape = _shape(model, command, size)

    def decode(lr, *latents):
        return jnp.clip(model.decode(params, lr, latents), 0, 1)

    program: Callable
    if command == "downscale":
        program, result = functools.partial(_downscaled, model, params), "lr"
        inputs = {"hr": shape}
    else:
        latents = {f"latents_{i}": s for i, s in enumerate(model.latent_shapes(shape))}
        program, result = decode, "hr"
        inputs = {"lr": shape} | latents
    with jax.disable_jit():
        proto = to_onnx(
            program,
            [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in inputs.values()],
            model_name=f"hcflow_{command}_x{model.scale}",
            input_names=[*inputs],
            output_names=[result],
        )
    return proto.SerializeToString()
