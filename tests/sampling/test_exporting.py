"""Exported programs: for every platform, in full precision, of arrays of any size."""

import re

import jax
import numpy as np
import pytest

from hcflow_jax import UserError
from hcflow_jax.kernels import convolution, dense
from hcflow_jax.sampling import exporting
from tests.support import randomized
from tests.tiny import RESCALING, SR


def _params(model):
    shapes = jax.eval_shape(model.init_params, jax.random.key(0))
    return randomized(shapes, 0, np.float32)


@pytest.mark.parametrize("command", exporting.COMMANDS)
def test_programs_are_portable_and_precise(monkeypatch, command):
    model, steps = (SR, 2) if command == "upscale" else (RESCALING, 0)
    params = _params(model)
    for module, name in ((convolution, "conv2d"), (dense, "rrdbs"), (dense, "dense_convolutions")):
        monkeypatch.setattr(module, name, None)  # those are for CPUs
    exported = exporting.stablehlo(model, params, command, back_project=steps)
    assert {"cpu", "cuda", "tpu"} <= set(exported.platforms)
    program = exported.mlir_module()
    assert set(re.findall(r"custom_call @(\w+)", program)) <= {"shape_assertion"}
    products = re.findall(r"= stablehlo\.(?:convolution|dot_general).*", program)
    assert products and all("HIGHEST" in line for line in products)


def test_shapes_are_symbolic_or_of_one_size():
    upscale = exporting.stablehlo(SR, _params(SR), "upscale")
    assert str(upscale.in_avals[0].shape) == "(b, h, w, 3)"
    assert str(upscale.out_avals[0].shape) == "(b, 4*h, 4*w, 3)"
    downscale = exporting.stablehlo(RESCALING, _params(RESCALING), "downscale", (16, 8))
    assert (downscale.in_avals[0].shape, downscale.out_avals[0].shape) == (
        (1, 8, 16, 3),
        (1, 2, 4, 3),
    )


def test_commands_need_models_of_their_task():
    with pytest.raises(UserError, match="restore needs a model of rescaling, not of sr"):
        exporting.stablehlo(SR, _params(SR), "restore")
