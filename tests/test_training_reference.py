"""Eight recorded iterations of the published training, losses and final weights reproduced."""

from functools import partial

import jax
import numpy as np

from hcflow_jax import losses, steps, to_published
from tests.reference import recipe
from tests.support import REFERENCE, nhwc, training_model

ARRAYS = np.load(REFERENCE / "training.npz")
QUANT = 64


def _images(run):
    return ARRAYS[f"{run}/hr"], nhwc(ARRAYS[f"{run}/lr"])


def _dequantized(run, iteration):
    hr, _ = _images(run)
    noise = recipe.uniform(f"{run}/step{iteration}/dequant", hr.shape)
    return nhwc(hr + noise / np.float32(QUANT))


def _latents(run, iteration, model, lr):
    return [
        nhwc(recipe.normal(f"{run}/step{iteration}/hr/eps/{level}", (b, c, h, w)))
        for level, (b, h, w, c) in enumerate(model.latent_shapes(lr.shape))
    ]


def _run(loss, params, batches):
    """(metrics of every iteration, final parameters)."""
    tx = steps.optimizer(2.5e-4)
    step = jax.jit(partial(steps.train_step, loss, tx))
    state, records = steps.create_state(params, tx), []
    for batch in batches:
        state, metrics = step(state, batch, jax.random.key(0))
        records.append(metrics)
    return records, state.params


def _assert_final(run, model, params):
    published = to_published(model, params)
    names = [n.split("/final/")[1] for n in ARRAYS.files if n.startswith(f"{run}/final/")]
    assert names
    for name in names:
        expected = ARRAYS[f"{run}/final/{name}"]
        atol = 1e-3 * np.abs(expected).max()
        np.testing.assert_allclose(published[name], expected, rtol=0, atol=atol)


def test_sr_by_nll():
    run = "train_nll"
    model, params = training_model(run)
    _, lr = _images(run)

    def loss(params, rng, batch):
        terms = losses.likelihood(model, params, batch["hr"], batch["lr"], QUANT)
        return losses.nll(terms), {}

    batches = [{"hr": _dequantized(run, i), "lr": lr} for i in range(1, 9)]
    params = model.data_init(params, batches[0]["hr"])
    records, params = _run(loss, params, batches)
    found = [float(record["loss"]) for record in records]
    np.testing.assert_allclose(found, ARRAYS[f"{run}/nll"], rtol=1e-3)
    _assert_final(run, model, params)


def test_rescaling():
    run = "train_rescaling"
    model, params = training_model(run)
    hr, lr = _images(run)
    hr = nhwc(hr)

    def loss(params, rng, batch):
        terms = losses.rescaling_losses_given(
            model, params, batch["latents"], batch["hr"], batch["lr"]
        )
        return losses.rescaling_objective(terms), terms

    batches = [{"hr": hr, "lr": lr, "latents": _latents(run, i, model, lr)} for i in range(1, 9)]
    records, params = _run(loss, model.data_init(params, hr), batches)
    weights = {"hr": ("l_g_hr", 1.0), "lr": ("l_g_lr", 0.05), "latents": ("l_g_z", 1e-5)}
    for key, (name, weight) in weights.items():
        found = [weight * float(record[key]) for record in records]
        np.testing.assert_allclose(found, ARRAYS[f"{run}/{name}"], rtol=1e-3)
    _assert_final(run, model, params)
