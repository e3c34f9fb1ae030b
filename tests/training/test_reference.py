"""Recorded iterations of the published trainings, losses and final weights reproduced."""

import dataclasses
import json
from functools import partial

import jax
import numpy as np
import pytest

from hcflow_jax import to_published
from hcflow_jax.training import optimizer, steps
from hcflow_jax.training.config import Recipe
from hcflow_jax.training.sections import Discriminator, RescalingLoss, SRLoss, Train
from tests.platforms import accelerator, tolerance
from tests.reference import recipe
from tests.support import REFERENCE, discriminator_params, nhwc, training_model

pytestmark = accelerator
ARRAYS = np.load(REFERENCE / "training.npz")
QUANT = 64


def _images(run):
    return ARRAYS[f"{run}/hr"], nhwc(ARRAYS[f"{run}/lr"])


def _recipe(model, loss, rate, discriminator=None):
    return Recipe(model, loss, Train(learning_rate=rate), discriminator)


def _latents(run, iteration, model, lr, phase):
    return [
        nhwc(recipe.normal(f"{run}/step{iteration}/{phase}/eps/{level}", (b, c, h, w)))
        for level, (b, h, w, c) in enumerate(model.latent_shapes(lr.shape))
    ]


def _dequantization(run, iteration, shape):
    """The recorded noise of an iteration, as `objectives.draw_noise` would have drawn it."""
    noise = recipe.uniform(f"{run}/step{iteration}/dequant", shape)
    return nhwc(noise / np.float32(QUANT))


def _run(plan, params, batches, adversary=None, first=0):
    """(metrics of every iteration, final parameters)."""
    loss = plan.loss
    if isinstance(loss, SRLoss):
        loss = dataclasses.replace(loss, gan_weight=0.0)
    state = steps.create_state(dataclasses.replace(plan, loss=loss), params, None, 0)
    state = state.replace(discriminator=adversary)
    step = jax.jit(partial(steps.iteration, plan), static_argnames="only_discriminator")
    records = []
    for i, batch in enumerate(batches, 1):
        state, metrics = step(state, batch, only_discriminator=i <= first)
        records.append(metrics)
    assert int(state.skipped) == 0
    return records, state.model.params


def _assert_recorded(run, records, weights):
    """`weights`: {our metric: (recorded name, factor)}; the last recorded ones, if fewer."""
    for key, (name, factor) in weights.items():
        found = [factor * float(record[key]) for record in records if key in record]
        assert found
        expected = ARRAYS[f"{run}/{name}"][-len(found) :]
        np.testing.assert_allclose(found, expected, rtol=tolerance("recorded training"))


def _assert_final(run, model, params):
    published = to_published(model, params)
    names = [n.split("/final/")[1] for n in ARRAYS.files if n.startswith(f"{run}/final/")]
    assert names
    for name in names:
        expected = ARRAYS[f"{run}/final/{name}"]
        atol = tolerance("recorded training") * np.abs(expected).max()
        np.testing.assert_allclose(published[name], expected, rtol=0, atol=atol)


def _batches(run, model, iterations):
    hr, lr = _images(run)
    phase = "gan" if model.task == "sr" else "hr"
    return [
        {
            "hr": nhwc(hr),
            "lr": lr,
            "dequantization": _dequantization(run, i, hr.shape),
            "latents": _latents(run, i, model, lr, phase),
        }
        for i in range(1, iterations + 1)
    ]


@pytest.mark.slow
def test_sr_by_nll():
    run = "train_nll"
    model, params = training_model(run)
    batches = _batches(run, model, 8)
    params = model.data_init(params, batches[0]["hr"] + batches[0]["dequantization"])
    records, params = _run(_recipe(model, SRLoss(QUANT), 2.5e-4), params, batches)
    _assert_recorded(run, records, {"nll": ("nll", 1)})
    _assert_final(run, model, params)


@pytest.mark.slow
def test_sr_by_nll_and_pixels():
    run = "train_pixel"
    model, params = training_model(run)
    plan = _recipe(model, SRLoss(QUANT, nll_weight=2e-3, pixel_weight=1.0), 5e-5)
    records, params = _run(plan, params, _batches(run, model, 6))
    _assert_recorded(run, records, {"nll": ("nll", 2e-3), "pixel": ("l_g_pix_hr", 1)})
    _assert_final(run, model, params)


@pytest.mark.slow
def test_sr_by_all_three_and_a_discriminator():
    run = "train_gan"
    model, params = training_model(run)
    manifest = json.loads((REFERENCE / "manifests/train_gan_discriminator.json").read_text())
    adversary = discriminator_params(recipe.weights(manifest), "D")
    loss = SRLoss(QUANT, nll_weight=2e-3, pixel_weight=1.0, gan_weight=0.5, temperature=0.8)
    plan = _recipe(model, loss, 1.25e-5, Discriminator("patchgan", 8, 2, 5e-5))
    records, params = _run(
        plan, params, _batches(run, model, 5), optimizer.new_learner(adversary), first=1
    )
    assert "gan" not in records[0] and "gan" in records[1]
    names = {
        "nll": ("nll", 2e-3),
        "pixel": ("l_g_pix_hr", 1),
        "gan": ("l_g_gan", 0.5),
        "d_real": ("l_d_real", 1),
        "d_fake": ("l_d_fake", 1),
    }
    _assert_recorded(run, records, names)
    _assert_final(run, model, params)


def test_rescaling():
    run = "train_rescaling"
    model, params = training_model(run)
    batches = _batches(run, model, 8)
    params = model.data_init(params, batches[0]["hr"])
    records, params = _run(_recipe(model, RescalingLoss(), 2.5e-4), params, batches)
    names = {"hr": ("l_g_hr", 1.0), "lr": ("l_g_lr", 0.05), "latents": ("l_g_z", 1e-5)}
    _assert_recorded(run, records, names)
    _assert_final(run, model, params)
