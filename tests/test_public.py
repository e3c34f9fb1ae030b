"""The names that others rely on."""

import inspect
import subprocess
import sys

import pytest

import hcflow_jax

NAMES = (
    *(
        "Encoding",
        "HCFlow",
        "UserError",
        "build_model",
        "fit_guard",
        "from_torch",
        "load",
        "to_published",
    ),
    *("bijectors", "losses", "sampling", "__version__"),
)
METHODS = (
    "init",
    "encode",
    "decode",
    "log_prob",
    "sample",
    "prepare",
    "latent_shapes",
    "draw_latents",
)


def test_public_names_are_there_and_no_others():
    assert sorted(hcflow_jax.__all__) == sorted(NAMES) == sorted(dir(hcflow_jax))
    for name in NAMES:
        assert getattr(hcflow_jax, name) is not None
    with pytest.raises(AttributeError, match="'zap'"):
        _ = hcflow_jax.zap


@pytest.mark.parametrize("statement", ["import hcflow_jax", "import hcflow_jax.losses"])
def test_modules_are_there_without_another_import(statement):
    """And without the packages of the extra [train]."""
    code = f"{statement}; hcflow_jax.losses.nll; hcflow_jax.losses.GAN_TYPES; import sys; " + (
        "hcflow_jax.bijectors.Chain; hcflow_jax.sampling.interpolate; "
        "assert not {'clu', 'grain', 'optax', 'ml_collections'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", METHODS)
def test_methods_of_a_model_say_what_they_do(name):
    assert inspect.getdoc(getattr(hcflow_jax.HCFlow, name))


def test_load_gives_shipped_weights_and_checks_what_was_asked():
    model, params = hcflow_jax.load()
    assert (model.task, model.scale) == ("sr", 4) and "level0" in params
    assert hcflow_jax.load(task="rescaling")[0].task == "rescaling"
    with pytest.raises(hcflow_jax.UserError, match="no sr ×16 weights ship"):
        hcflow_jax.load(scale=16)
