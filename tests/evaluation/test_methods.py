"""What an evaluation compares, and what it is called."""

import jax
import numpy as np
import pytest

from hcflow_jax import build_model, checkpoints
from hcflow_jax.errors import UserError
from hcflow_jax.evaluation import methods
from tests.support import randomized
from tests.tiny import ONE_LEVEL, SIZES, SR


def _save(path, model, seed=0):
    params = randomized(jax.eval_shape(model.init_params, jax.random.key(0)), seed, np.float32)
    checkpoints.save_model(path, model, params)
    return str(path)


def test_networks_are_told_apart_by_their_weights_and_the_least_of_their_paths(tmp_path):
    for name in ("a", "b", "runs"):
        (tmp_path / name).mkdir()
    first = _save(tmp_path / "a/best", ONE_LEVEL["sr"])
    second = _save(tmp_path / "b/best", ONE_LEVEL["sr"], seed=1)
    other = _save(tmp_path / "runs/so so", ONE_LEVEL["rescaling"])
    found = methods.load([first, second, first, other], None, None)
    assert [network.label for network in found] == ["a_best", "b_best", "so_so"]
    assert len({network.digest for network in found}) == 3
    assert methods.load([first], "sr", 2)[0].digest == found[0].digest
    with pytest.raises(checkpoints.CheckpointError, match="not rescaling"):
        methods.load([first], "rescaling", None)


def test_checkpoints_of_several_scales_are_refused(tmp_path):
    four = build_model(SIZES | {"steps": (1, 1), "conditional_steps": (1, 1)})
    paths = [_save(tmp_path / "2", ONE_LEVEL["sr"]), _save(tmp_path / "4", four)]
    with pytest.raises(UserError, match="scales 2 and 4; evaluate one scale"):
        methods.load(paths, None, None)


def test_the_shipped_weights_are_those_of_the_task():
    (network,) = methods.load([], "rescaling", None)
    assert (network.label, network.model.task) == ("shipped_rescaling", "rescaling")


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (["x/sr.npz", "x/SR.pth"], ["sr", "SR"]),
        (["r/checkpoints/9", "r/checkpoints/10"], ["r_9", "r_10"]),
        (["a/x y", "a/x_y"], ["x_y", "x_y_2"]),
    ],
)
def test_labels_are_short_and_different(paths, labels):
    found = methods._labels(paths)
    assert len(set(found)) == 2
    assert all(label.endswith(end) for label, end in zip(found, labels, strict=True))
    assert max(map(len, methods._labels([f"{'long' * 50}/a", f"{'much' * 50}/a"]))) <= 62


def test_a_network_is_a_row_at_each_temperature_and_draws_one_sample_at_0():
    networks = methods.load([], None, None)
    found = methods.methods(networks, None, 7)
    assert [m.name for m in found[:2]] == ["bicubic", "lanczos"]
    drawn = [(m.name, m.title, m.samples) for m in found[2:]]
    assert drawn[0] == ("shipped_sr_T0", "shipped_sr, T = 0", 1)
    assert drawn[1:] == [(f"shipped_sr_T{t}", f"shipped_sr, T = {t}", 7) for t in (0.5, 0.9)]
    assert [m.temperature for m in methods.methods(networks, [0.3, 0.3], 2)[2:]] == [0.3]


def test_the_seed_and_the_number_of_samples_decide_nothing_at_temperature_0():
    (network,) = methods.load([], None, None)
    cold, warm = (methods.methods([network], [tau], 3)[2] for tau in (0.0, 0.5))
    assert cold.facts(0) == cold.facts(1) and warm.facts(0) != warm.facts(1)
    assert warm.facts(0) != methods.methods([network], [0.5], 4)[2].facts(0)
    assert cold.facts(0)[0] == network.digest


def test_the_shipped_network_stands_beside_others(tmp_path):
    _save(tmp_path / "mine", SR)
    found = methods.load([str(tmp_path / "mine"), "shipped"], None, None)
    assert [network.label for network in found] == ["mine", "shipped_sr"]
    assert found[1].digest == methods.load([], None, None)[0].digest


def test_back_projection_is_of_super_resolution_and_decides_its_figures():
    sr, rescaling = (methods.load([], task, None)[0] for task in ("sr", "rescaling"))
    raw, after = (methods.methods([sr, rescaling], [0.0], 1, steps)[2:] for steps in (0, 2))
    assert [m.back_project for m in after] == [2, 0] and raw[1] == after[1]
    assert (after[0].name, after[0].title) == (
        "shipped_sr_T0_bp2",
        "shipped_sr, T = 0, back-projected 2×",
    )
    assert raw[0].facts(0) != after[0].facts(0)


def test_of_temperatures_that_print_alike_the_first_is_taken():
    found = methods.methods(methods.load([], None, None), [0.50000001, 0.5, 0.3], 2)[2:]
    assert [m.temperature for m in found] == [0.50000001, 0.3]


def test_the_search_for_small_pictures_is_of_rescaling_alone_and_another_row():
    networks = methods.load([], "rescaling", None)
    plain, refined = (methods.methods(networks, None, 1, 2, steps)[2] for steps in (0, 5))
    assert (refined.name, refined.back_project) == ("shipped_rescaling_T0_r5", 0)
    assert refined.title == "shipped_rescaling, T = 0, refined in 5 steps"
    assert plain.facts(0) != refined.facts(0) and plain.name == "shipped_rescaling_T0"
    assert methods.methods(methods.load([], "sr", None), [0.0], 1, 0, 5)[2].name == "shipped_sr_T0"
