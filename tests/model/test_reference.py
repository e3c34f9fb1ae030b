"""Every recorded figure of the published program, in float32, to 1e-4 of its largest value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcflow_jax import bijectors, build_model
from hcflow_jax.checkpoints.published import parameter_count
from hcflow_jax.model import prior
from hcflow_jax.model.networks import FCN, DenseBlock, FeatureTrunk, RRDBs, ZeroConv
from hcflow_jax.training import losses
from tests.command import config
from tests.platforms import accelerator
from tests.reference import recipe
from tests.support import (
    assert_reference,
    module_params,
    modules,
    nhwc,
    reference_model,
    stack,
    stack_rdbs,
)

pytestmark = accelerator
CASES = {"sr_x4_tiny": ("0.0", "0.9"), "sr_x8_tiny": ("0.0", "0.8")}
CASES["rescaling_x4_tiny"] = ("0.0", "1.0")


@pytest.mark.parametrize("case", CASES)
def test_encode_and_likelihood(case):
    arrays, manifest, model, params = reference_model(case)
    assert parameter_count(model) == manifest["count"]
    hr, quant = arrays["hr"], manifest["quant"]
    if quant:
        hr = hr + recipe.uniform(f"{case}/dequant", hr.shape) / np.float32(quant)
    hr, lr = nhwc(hr), nhwc(arrays["lr"])
    encoding = jax.jit(model.encode)(params, hr)
    assert encoding.lr.dtype == jnp.float32
    assert_reference(encoding.lr, arrays["encode/lr_raw"])
    assert_reference(losses.quantize(encoding.lr), arrays["encode/lr_quantized"])
    for i, latent in enumerate(encoding.latents):
        assert_reference(latent, arrays[f"encode/latent{i}"])
    if quant:
        assert_reference(encoding.log_det, arrays["encode/log_det"])
        assert_reference(encoding.log_prior, arrays["encode/log_prior_by_level"])
        terms = losses.likelihood(model, params, hr, lr, quant)
        assert_reference(losses.nll(terms), arrays["nll"])


@pytest.mark.parametrize("case, tau", [(c, tau) for c, taus in CASES.items() for tau in taus])
def test_decode(case, tau):
    arrays, manifest, model, params = reference_model(case)
    lr = nhwc(arrays["lr"] if manifest["quant"] else arrays["encode/lr_quantized"])
    latents = [
        np.float32(tau) * nhwc(recipe.normal(f"{case}/eps/{i}", (b, c, h, w)))
        for i, (b, h, w, c) in enumerate(model.latent_shapes(lr.shape))
    ]
    weights = params if tau == "0.0" else model.prepare(params)
    hr = jax.jit(model.decode)(weights, lr, latents)
    assert_reference(hr, arrays[f"decode/hr_tau{tau}"])


X12 = nhwc(recipe.normal("modules/x12", (2, 12, 6, 4)))
X3 = nhwc(recipe.normal("modules/x3", (2, 3, 8, 6)))
U5 = nhwc(recipe.normal("modules/u5", (2, 5, 6, 4)))


def _affine(channels, split, net, cond=0):
    return bijectors.AffineCoupling(channels, split, net, cond)


BIJECTORS = {
    "invconv": (bijectors.InvertibleConv1x1(12), 12, None),
    "affine_fcn": (_affine(12, 6, FCN(8, 12)), 12, None),
    "affine_fcn_cond": (_affine(12, 6, FCN(8, 12), 5), 12, U5),
    "affine_odd_channels": (_affine(9, 4, FCN(8, 10), 5), 9, U5),
    "affine_denseblock": (_affine(12, 6, DenseBlock(8, 12)), 12, None),
    "shift3_lr_to_rest": (_affine(12, 3, DenseBlock(8, 18)), 12, None),
    "shift3_rest_to_lr": (bijectors.ShiftCoupling(12, 3, DenseBlock(8, 3)), 12, None),
    "flowstep": (bijectors.flow_step(_affine(12, 6, FCN(8, 12), 5)), 12, U5),
}


@pytest.mark.parametrize("name", BIJECTORS)
def test_bijectors(name):
    arrays, _ = modules()
    bijector, channels, cond = BIJECTORS[name]
    params, x = module_params(name), X12[..., :channels]
    if name == "invconv":
        params = params["permute"]
    y, log_det = bijector.forward(params, x, cond)
    assert_reference(y, arrays[f"{name}/y"])
    if np.any(arrays[f"{name}/log_det"]):
        assert_reference(log_det, arrays[f"{name}/log_det"])
    else:
        np.testing.assert_array_equal(log_det, 0)
    assert_reference(bijector.inverse(params, x, cond)[0], arrays[f"{name}/inverse"])


def test_squeezes():
    arrays, _ = modules()
    haar = bijectors.HaarSqueeze()
    squeezed = bijectors.CheckerboardSqueeze().forward({}, X3)[0]
    assert_reference(squeezed, arrays["squeeze"])
    assert_reference(haar.forward({}, X3)[0], arrays["haar"])
    assert_reference(haar.inverse({}, squeezed)[0], arrays["haar_inverse_of_squeeze"])


def test_actnorm_init():
    arrays, _ = modules()
    x, actnorm = X12 * 1.7 + 0.4, bijectors.ActNorm(12)
    params, y = actnorm.data_init({}, x, fit=bijectors.fit_actnorm)
    assert_reference(params["bias"], arrays["actnorm_init/bias"])
    assert_reference(params["logs"], arrays["actnorm_init/logs"])
    assert_reference(y, arrays["actnorm_init/y"])
    assert_reference(actnorm.forward(params, x)[1], arrays["actnorm_init/log_det"])


def test_gaussian_logp():
    arrays, _ = modules()
    assert_reference(prior.gaussian_logp(X12, 0.3 * X12, 0.1 * X12 - 0.2), arrays["gaussian_logp"])


NETWORKS = {
    "fcn": FCN(8, 10),
    "denseblock": DenseBlock(8, 10),
    "conv_zeros": ZeroConv(10),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    arrays, _ = modules()
    params = module_params(name)
    assert_reference(NETWORKS[name].apply({"params": params}, X12), arrays[name])


def test_rrdb():
    arrays, _ = modules()
    params = stack({"0": stack_rdbs(module_params("rrdb"))})
    _, y = RRDBs(1, 6).apply({"params": params}, X12)
    assert_reference(y, arrays["rrdb"])


def test_residual_dense_block():
    arrays, _ = modules()
    block = DenseBlock(6, 12).apply({"params": module_params("rdb")}, X12)
    assert_reference(X12 + 0.2 * block, arrays["rdb"])


def test_conditional_level():
    arrays, _ = modules()
    params = module_params("level_sr")
    a = nhwc(recipe.normal("modules/a9", (2, 9, 6, 4)))
    y = nhwc(recipe.uniform("modules/y3", (2, 3, 6, 4)))
    trunk = {k: params[k] for k in ("conv_first", "trunk_conv1")}
    rrdbs = [params[f"RRDB_trunk{t}"][n] for t, n in ((0, "0"), (1, "0"), (1, "1"))]
    trunk["RRDB_trunks"] = stack(dict(enumerate(map(stack_rdbs, rrdbs))))
    features = FeatureTrunk((1, 2), 8, 4, both=True).apply({"params": trunk}, y)
    assert_reference(features, arrays["level_sr/features"])
    step = bijectors.flow_step(_affine(9, 4, FCN(8, 10), 16))
    steps = bijectors.Repeat(step, 2)
    rest, log_det = steps.forward(stack(params["additional_flow_steps"]), a, features)
    gaussian = prior.ConditionalGaussian(9, 16, bounded=False)
    mean, log_std = gaussian.distribution(params["f"], features)
    assert_reference(mean, arrays["level_sr/mean"])
    assert_reference(log_std, arrays["level_sr/log_std"])
    assert_reference(prior.gaussian_logp(rest, mean, log_std), arrays["level_sr/log_prior"])
    assert_reference(log_det, arrays["level_sr/log_det"])


@pytest.mark.parametrize(
    "name, count", [("sr_x4", 23_232_539), ("sr_x8", 27_017_723), ("rescaling_x4", 4_396_350)]
)
def test_published_parameter_counts(name, count):
    assert parameter_count(build_model(config(name, "hcflow").model)) == count
    sizes = ("tiny", "smoke", "hcflow-tiny")
    for variant in sizes if name == "rescaling_x4" else (*sizes, "plus", "plusplus-tiny"):
        model = build_model(config(name, variant).model)
        assert f"x{model.scale}" in name and model.task in name
    with pytest.raises(ValueError, match="unknown variant 'x'"):
        config(name, "x")
