"""Published names to parameters and back, and checkpoints on disk."""

import os
import pickle

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from hcflow_jax import build_model, checkpoints, from_torch, to_published
from hcflow_jax.checkpoints import published
from tests.support import randomized, reference_model
from tests.tiny import FIELDS, RESCALING, SR


@pytest.fixture(scope="module")
def state_dict():
    """A published-like state dict of the tiny SR model."""
    shapes = jax.eval_shape(SR.init_params, jax.random.key(0))
    return to_published(SR, randomized(shapes, dtype=np.float32))


@pytest.mark.parametrize("case", ["sr_x4_tiny", "sr_x8_tiny", "rescaling_x4_tiny"])
@pytest.mark.parametrize("prefix", ["", "module.", "module.module."])
def test_published_names_and_numbers_return(case, prefix):
    _, manifest, model, params = reference_model(case)
    published = to_published(model, params)
    names = [[name, list(array.shape)] for name, array in published.items()]
    assert sorted(names) == sorted(manifest["parameters"])
    again_model, again = from_torch({prefix + name: array for name, array in published.items()})
    assert again_model == model
    jax.tree.map(np.testing.assert_array_equal, again, params)


@pytest.mark.parametrize("task", ["sr", "rescaling"])
@pytest.mark.parametrize(
    "fields",
    [
        {"steps": (2,), "conditional_steps": (1,)},
        {"steps": (3, 1, 2, 1), "conditional_steps": (1, 0, 1, 1)},
        {"steps": (4, 4), "conditional_steps": (0, 3), "image_channels": 1},
        {"blocks": (2, 3), "hidden": 5, "conditional_hidden": 6, "features": 3, "growth": 1},
        {"blocks": ((1, 1), (2, 3)), "features": (3, 5), "growth": (2, 1)},
        {"hidden": (3, 5), "conditional_hidden": (6, 4)},
        {"steps": (3, 1, 1), "conditional_steps": (1, 0, 1), "growth": (1, 2, 3)},
    ],
)
def test_every_architecture_is_inferred(task, fields):
    model = build_model(FIELDS[task] | fields)
    shapes = jax.eval_shape(model.init_params, jax.random.key(0))
    params = randomized(shapes, dtype=np.float32)
    found, again = from_torch(to_published(model, params))
    assert found == model
    jax.tree.map(np.testing.assert_array_equal, again, params)


NAME = "flow.level1_condFlow.trunk_conv1.weight"


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda d: d.pop(NAME), (NAME, "(4, 4, 3, 3)", "found none")),
        (
            lambda d: d.update({NAME: np.zeros((4, 5, 3, 3))}),
            (NAME, "(4, 4, 3, 3)", "(4, 5, 3, 3)"),
        ),
        (lambda d: d.update({NAME: np.full((4, 4, 3, 3), np.nan)}), (NAME, "NaN")),
        (lambda d: d.update({NAME: np.full((4, 4, 3, 3), "a")}), (NAME, "real numbers")),
        (lambda d: d.update({NAME: np.ones((4, 4, 3, 3), complex)}), (NAME, "complex128")),
        (lambda d: d.update({NAME: np.full((4, 4, 3, 3), 1e300)}), (NAME, "beyond float32")),
        (lambda d: d.update({"flow.extra": np.zeros(3)}), ("flow.extra", "no such", "(3,)")),
        (lambda d: d.clear(), ("flow.level0_condFlow", "found none")),
        (lambda d: [d.pop(k) for k in list(d) if "level1_condFlow.f" in k], ("level1", "f.weight")),
        (lambda d: d.update({"flow.layers.1.affine.f.conv1.weight": np.zeros(3)}), ("rank 4",)),
    ],
)
def test_what_does_not_fit_is_named(state_dict, change, words):
    changed = dict(state_dict)
    change(changed)
    with pytest.raises(ValueError) as error:
        from_torch(changed)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    "name",
    [
        "flow.layers.1.actnorm.bias",
        "flow.layers.1.permute.weight",
        "flow.layers.4.actnorm.bias",
        "flow.level1_condFlow.conv_first.weight",
        "flow.level0_condFlow.additional_flow_steps.0.affine.f.conv1.weight",
    ],
)
def test_arrays_that_tell_the_architecture_are_missed_too(state_dict, name):
    """Without them another model may be inferred, but never silently."""
    changed = dict(state_dict)
    del changed[name]
    with pytest.raises(ValueError, match=r"flow\.(layers|level).* found "):
        from_torch(changed)


def test_a_foreign_network_is_refused():
    with pytest.raises(ValueError, match="HCFlow checkpoint"):
        from_torch({"conv1.weight": np.zeros((3, 3, 3, 3))})


def test_other_haar_signs_are_refused():
    shapes = jax.eval_shape(RESCALING.init_params, jax.random.key(0))
    published = to_published(RESCALING, randomized(shapes, dtype=np.float32))
    published["flow.layers.0.haar_weights"] = -published["flow.layers.0.haar_weights"]
    with pytest.raises(ValueError, match="Haar signs"):
        from_torch(published)


@pytest.mark.parametrize("model", [SR, RESCALING])
def test_checkpoints_and_npz_return_everything(tmp_path, model):
    params = randomized(jax.eval_shape(model.init_params, jax.random.key(0)), dtype=np.float32)
    checkpoints.save_model(tmp_path / "c", model, params)
    np.savez(tmp_path / "w.npz", **to_published(model, params))
    for name in ("c", "w.npz"):
        found, again = checkpoints.load_model(tmp_path / name)
        assert found == model
        jax.tree.map(np.testing.assert_array_equal, again, params)
    with pytest.raises(checkpoints.CheckpointError, match="exists"):
        checkpoints.save_model(tmp_path / "c", model, params)


def test_pth_is_read_with_weights_only(tmp_path, state_dict):
    torch = pytest.importorskip("torch")
    tensors = {f"module.{k}": torch.from_numpy(v.copy()) for k, v in state_dict.items()}
    torch.save(tensors, tmp_path / "w.pth")
    model, params = checkpoints.load_model(tmp_path / "w.pth")
    assert model == SR
    jax.tree.map(np.testing.assert_array_equal, params, from_torch(state_dict)[1])


@pytest.mark.parametrize("make", [lambda t: {1: t}, lambda t: {"a": t + 1j}, lambda t: [t]])
def test_a_pth_without_a_state_dict_is_named(tmp_path, make):
    torch = pytest.importorskip("torch")
    torch.save(make(torch.zeros(3)), tmp_path / "w.pth")
    with pytest.raises(checkpoints.CheckpointError, match="w.pth holds no state dict"):
        checkpoints.load_model(tmp_path / "w.pth")


class Bomb:
    """Unpickling it leaves a mark."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_nothing_is_ever_unpickled(tmp_path):
    mark = tmp_path / "unpickled"
    np.savez(tmp_path / "bomb.npz", a=np.array([Bomb(str(mark))], object))
    (tmp_path / "plain.npz").write_bytes(pickle.dumps(Bomb(str(mark))))
    (tmp_path / "bomb.pth").write_bytes(pickle.dumps(Bomb(str(mark))))
    for name in ("bomb.npz", "plain.npz", "bomb.pth"):
        with pytest.raises(checkpoints.CheckpointError, match=name):
            checkpoints.load_model(tmp_path / name)
    assert not mark.exists()


def test_nothing_is_unpickled_from_an_archive_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    mark = tmp_path / "unpickled"
    torch.save({"a": torch.zeros(3), "b": Bomb(str(mark))}, tmp_path / "bomb.pth")
    with pytest.raises(checkpoints.CheckpointError, match="bomb.pth holds more than weights"):
        checkpoints.load_model(tmp_path / "bomb.pth")
    assert not mark.exists()
    torch.load(tmp_path / "bomb.pth", weights_only=False)
    assert mark.exists()


def test_bad_paths_are_named_in_one_line(tmp_path, state_dict):
    np.savez(tmp_path / "cut.npz", **state_dict)
    data = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    (tmp_path / "noise.npz").write_bytes(os.urandom(100))
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "workdir/checkpoints/3").mkdir(parents=True)
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    np.savez_compressed(tmp_path / "scratched.npz", a=np.arange(999))
    data = bytearray((tmp_path / "scratched.npz").read_bytes())
    data[100:200] = bytes(100)
    (tmp_path / "scratched.npz").write_bytes(data)
    np.savez(tmp_path / "locked.npz", a=np.zeros(3))
    data = bytearray((tmp_path / "locked.npz").read_bytes())
    data[data.find(b"PK\x01\x02") + 8] |= 1  # says that it is encrypted
    (tmp_path / "locked.npz").write_bytes(data)
    names = ("cut.npz", "noise.npz", "empty.npz", "a.txt", "folder", "workdir", "absent")
    for name in (*names, "array.npz", "scratched.npz", "locked.npz"):
        with pytest.raises(checkpoints.CheckpointError) as error:
            checkpoints.load_model(tmp_path / name)
        assert name in str(error.value) and "\n" not in str(error.value)


def test_a_damaged_checkpoint_is_named(tmp_path):
    params = randomized(jax.eval_shape(SR.init_params, jax.random.key(0)), dtype=np.float32)
    checkpoints.save_model(tmp_path / "c", SR, params)
    for file in (tmp_path / "c/params").rglob("*"):
        if file.is_file() and file.stat().st_size > 2000:
            file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(checkpoints.CheckpointError, match="damaged") as error:
        checkpoints.load_model(tmp_path / "c")
    assert "\n" not in str(error.value)


def test_a_checkpoint_with_parameters_of_other_names_is_of_another_version(tmp_path):
    params = randomized(jax.eval_shape(SR.init_params, jax.random.key(0)), dtype=np.float32)
    names = flatten_dict(params, sep="/")
    renamed = {name.replace("RRDB_trunks", "RRDB_trunk1"): names[name] for name in names}
    assert renamed.keys() != names.keys()
    checkpoints.save_model(tmp_path / "c", SR, unflatten_dict(renamed, sep="/"))
    with pytest.raises(checkpoints.CheckpointError, match="another version") as error:
        checkpoints.load_model(tmp_path / "c")
    assert "\n" not in str(error.value)


def test_parameter_count_counts_the_published_arrays(state_dict):
    assert published.parameter_count(SR) == sum(array.size for array in state_dict.values())
