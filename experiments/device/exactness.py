"""Errors against the figures recorded from the authors' program, in every dtype.

The largest error of an array over its largest value; the tests allow 1e-4 in float32.
"""

import dataclasses
import functools

import jax
import numpy as np

from experiments.device import timing
from hcflow_jax.training import losses

CASES = {"sr_x4_tiny": "0.9", "sr_x8_tiny": "0.8", "rescaling_x4_tiny": "1.0"}


def measurements(size):
    cases = list(CASES)[: len(size.names)]
    return [
        (f"{case} {dtype}", functools.partial(_errors, case, dtype))
        for case in cases
        for dtype in timing.DTYPES
    ]


def _errors(case, dtype):
    from tests.reference import recipe
    from tests.support import nhwc, reference_model

    arrays, manifest, model, params = reference_model(case)
    model, tau = dataclasses.replace(model, dtype=dtype), CASES[case]
    hr, quant = arrays["hr"], manifest["quant"]
    if quant:
        hr = hr + recipe.uniform(f"{case}/dequant", hr.shape) / np.float32(quant)
    hr, lr = nhwc(hr), nhwc(arrays["lr"] if quant else arrays["encode/lr_quantized"])
    latents = [
        np.float32(tau) * nhwc(recipe.normal(f"{case}/eps/{i}", (b, c, h, w)))
        for i, (b, h, w, c) in enumerate(model.latent_shapes(lr.shape))
    ]

    def everything(params, hr, lr, latents):
        encoding = model.encode(params, hr)
        found = {
            "encode/lr_raw": encoding.lr,
            f"decode/hr_tau{tau}": model.decode(params, lr, latents),
        }
        found |= {f"encode/latent{i}": z for i, z in enumerate(encoding.latents)}
        if quant:
            found["nll"] = losses.nll(losses.likelihood(model, params, hr, lr, quant))
        return found

    program = jax.jit(everything).lower(params, hr, lr, latents).compile()

    def measure(kept):
        errors = {}
        for name, found in program(params, hr, lr, latents).items():
            expected = np.asarray(nhwc(arrays[name]))
            error = np.abs(np.asarray(found, np.float64) - expected).max() / np.abs(expected).max()
            kind = name.split("/")[-1].rstrip("0123456789.").removesuffix("_tau")
            errors[kind] = max(errors.get(kind, 0.0), float(error))
        return {"case": case, "dtype": dtype, **errors}

    return measure
