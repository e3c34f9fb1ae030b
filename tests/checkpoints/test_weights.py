"""Files of weights that others made: every kind is read, none takes memory for what it is not."""

import io
import json
import struct
import sys
import tracemalloc
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcflow_jax import checkpoints, cli, from_torch, to_published
from hcflow_jax.checkpoints import published, weights
from tests.support import randomized
from tests.tiny import FIELDS, RESCALING, SR, build_model

NAME = "flow.level1_condFlow.trunk_conv1.weight"


def _published(model):
    shapes = jax.eval_shape(model.init_params, jax.random.key(0))
    return to_published(model, randomized(shapes, dtype=np.float32))


@pytest.fixture(scope="module")
def state_dict():
    """A published-like state dict of the tiny SR model."""
    return _published(SR)


def _same(path, expected):
    model, params = checkpoints.load_model(path)
    jax.tree.map(np.testing.assert_array_equal, params, from_torch(expected)[1])
    return model == SR


def _safetensors(path, arrays, kind="F32", shape=None):
    """Writes a .safetensors by its specification."""
    header, data = {"__metadata__": {"by": "a test"}}, b""
    for name, array in arrays.items():
        end = len(data) + array.nbytes
        own = {"dtype": kind, "shape": shape or array.shape, "data_offsets": [len(data), end]}
        header[name], data = own, data + array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_safetensors_are_read(tmp_path, state_dict):
    pytest.importorskip("safetensors")
    _safetensors(tmp_path / "w.safetensors", state_dict)
    assert _same(tmp_path / "w.safetensors", state_dict)
    half = {name: np.asarray(array, jnp.bfloat16) for name, array in state_dict.items()}
    _safetensors(tmp_path / "half.safetensors", half, "BF16")
    assert _same(tmp_path / "half.safetensors", {k: np.float32(v) for k, v in half.items()})


@pytest.mark.parametrize(
    "kind, shape, words",
    [
        ("F8_E4M3", (24,), "a has type F8_E4M3; save it as F32"),
        ("F32", (10**14,), "not a readable .safetensors"),
        ("F32", (2, 3), "not an HCFlow checkpoint"),
    ],
)
def test_other_safetensors_are_one_line(tmp_path, kind, shape, words):
    pytest.importorskip("safetensors")
    array = np.zeros(6, np.float32).view(np.uint8 if kind[1] == "8" else np.float32)
    _safetensors(tmp_path / "w.safetensors", {"a": array}, kind, shape)
    with pytest.raises(checkpoints.CheckpointError, match=f"w.safetensors.*{words}"):
        checkpoints.load_model(tmp_path / "w.safetensors")


@pytest.mark.parametrize("package, suffix", [("safetensors", ".safetensors"), ("torch", ".bin")])
def test_without_their_reader_one_line_names_it(tmp_path, monkeypatch, capsys, package, suffix):
    monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"")
    assert cli.main(["convert", str(path), "-o", str(tmp_path / "c")]) == 2
    error = capsys.readouterr().err
    assert error == f"hcflow: {path}: this needs {package}; pip install 'hcflow_jax[convert]'\n"


@pytest.mark.parametrize("suffix", weights.TORCH)
def test_all_of_torchs_suffixes_are_read(tmp_path, state_dict, suffix):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(array.copy()) for name, array in state_dict.items()}
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / f"w{suffix}")
    assert _same(tmp_path / f"w{suffix}", state_dict)


def test_averaged_weights_are_preferred_and_said(tmp_path, state_dict, monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    ema = {name: torch.from_numpy(array.copy()) for name, array in state_dict.items()}
    torch.save({"params": {k: v + 1 for k, v in ema.items()}, "params_ema": ema}, "w.pth")
    assert cli.main(["convert", "w.pth", "-o", "w.npz"]) == 0
    said = capsys.readouterr().out
    assert "w.pth: its params_ema, the averaged weights, are taken, not its params" in said
    assert _same(tmp_path / "w.npz", state_dict)
    torch.save({"params": ema, "params_ema": {}}, "w.pth")
    assert cli.main(["convert", "w.pth", "-o", "c"]) == 0
    assert "averaged" not in capsys.readouterr().out


@pytest.mark.parametrize("prefix", ["_orig_mod.", "netG.", "generator.", "netG._orig_mod.module."])
def test_prefixes_are_taken_off(state_dict, prefix):
    wrapped = {prefix + name: array for name, array in state_dict.items()}
    others = {"netD.conv.weight": np.zeros(3)} if "netG" in prefix or "gen" in prefix else {}
    model, params = from_torch(wrapped | others)
    assert model == SR
    jax.tree.map(np.testing.assert_array_equal, params, from_torch(state_dict)[1])


def test_an_array_that_comes_twice_is_named(state_dict):
    with pytest.raises(ValueError, match=f"{NAME}: expected it once, found .*module.{NAME}"):
        from_torch(state_dict | {f"module.{NAME}": state_dict[NAME]})


@pytest.mark.parametrize(
    "model, name",
    [
        (SR, "flow.layers.1.permute.weight"),
        (SR, "flow.layers.1.actnorm.bias"),
        (SR, "flow.layers.4.actnorm.bias"),
        (RESCALING, "flow.layers.0.haar_weights"),
        (RESCALING, "flow.layers.1.affine.f.conv5.weight"),
        (build_model(FIELDS["sr"] | {"guard": True}), "flow.level1_condFlow.guard.input.low"),
    ],
)
def test_a_missing_array_that_tells_the_architecture_is_named_as_itself(model, name):
    arrays = _published(model)
    del arrays[name]
    with pytest.raises(ValueError, match=f"^{name}: expected an array of .*, found none"):
        from_torch(arrays)


def test_a_matrix_that_has_no_inverse_is_refused_with_its_layer(state_dict):
    name = "flow.layers.4.permute.weight"
    matrix = state_dict[name].copy()
    matrix[3] = matrix[0] + matrix[1]
    with pytest.raises(
        ValueError, match=f"{name}: expected a matrix .*, found one of rank 23 of 24"
    ):
        from_torch(state_dict | {name: matrix})
    matrix[3, 0] += 1e-3
    from_torch(state_dict | {name: matrix})


def test_more_levels_than_any_picture_has_are_refused(state_dict):
    level = {name: array for name, array in state_dict.items() if "level1_" in name}
    many = {k.replace("level1_", f"level{i}_"): v for i in range(70) for k, v in level.items()}
    with pytest.raises(ValueError, match="expected 6 levels at most, found 70"):
        from_torch(many | state_dict)


@pytest.mark.parametrize("shape", [(10**12, 0, 3, 3), (2**63 - 1, 4, 3, 3), (0,), (2**17, 1, 1, 1)])
def test_shapes_are_bounded_before_a_model_is_made_of_them(state_dict, shape):
    shapes = {name: array.shape for name, array in state_dict.items()}
    name = "flow.level1_condFlow.conv_first.weight"
    with pytest.raises(ValueError, match=f"{name}: expected sides from 1 to 65536, found"):
        published.check_shapes(shapes | {name: shape})


def _headers(path, arrays, kind="<f4", data=b""):
    """Writes an .npz whose arrays {name: shape} have nothing but a header, and `data`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, shape in arrays.items():
            header = io.BytesIO()
            told = {"descr": kind, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(header, told)
            archive.writestr(f"{name}.npy", header.getvalue() + data)


@pytest.mark.parametrize(
    "shape, kind, words",
    [
        ((10**14,), "<f4", "a.npy is not as long as its shape"),
        ((2**62, 2**62), "<f4", "a.npy is not as long as its shape"),
        ((-3,), "<f4", "a.npy is not as long as its shape"),
        ((), "|S1000000000", "a.npy is not as long as its shape"),
        ((4,), "|O", "not an HCFlow checkpoint"),
    ],
)
def test_an_npz_that_lies_about_its_arrays_is_refused(tmp_path, shape, kind, words):
    _headers(tmp_path / "w.npz", {"a": shape}, kind)
    with pytest.raises(checkpoints.CheckpointError, match=f"w.npz .*{words}"):
        checkpoints.load_model(tmp_path / "w.npz")


def test_headers_of_any_length_are_not_read(tmp_path):
    """Version 2 of .npy says how long its header is in four bytes; plain arrays need two."""
    header = b"\x93NUMPY\x02\x00" + (2**30).to_bytes(4, "little") + b" " * 100
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", header)
    with pytest.raises(checkpoints.CheckpointError, match=r"a.npy has version \(2, 0\)"):
        checkpoints.load_model(tmp_path / "w.npz")


def test_arrays_beyond_the_limit_are_refused(tmp_path, monkeypatch):
    np.savez(tmp_path / "w.npz", a=np.zeros(100))
    monkeypatch.setattr(weights, "LIMIT", 799)
    with pytest.raises(checkpoints.CheckpointError, match="w.npz holds arrays of 8e-07 GB, more"):
        weights.read_weights(tmp_path / "w.npz")
    monkeypatch.setattr(weights, "LIMIT", 800)
    assert weights.read_weights(tmp_path / "w.npz")["a"].shape == (100,)


@pytest.mark.parametrize("name", ["flow." * 70, "flow.\x1b[31mred", "two\nlines"])
def test_names_that_no_network_has_are_told_printably(tmp_path, name):
    np.savez(tmp_path / "w.npz", **{name: np.zeros(3)})
    with pytest.raises(checkpoints.CheckpointError, match="w.npz names an array '") as error:
        checkpoints.load_model(tmp_path / "w.npz")
    assert str(error.value).isprintable() and len(str(error.value)) < 300


def test_a_bomb_takes_no_memory(tmp_path, state_dict):
    """64 MB of zeros in a file of 0.1 MB, beside arrays of a model."""
    bomb = {"bomb": np.broadcast_to(np.float32(0), (4000, 4000))}
    np.savez_compressed(tmp_path / "w.npz", **state_dict, **bomb)
    tracemalloc.start()
    try:
        with pytest.raises(checkpoints.CheckpointError, match="bomb: expected no such array"):
            checkpoints.load_model(tmp_path / "w.npz")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def _spread(torch, tensor):
    return torch.zeros(1).expand(10**7, 10**7)


def _sparse(torch, tensor):
    return torch.sparse_coo_tensor(torch.zeros(2, 1).long(), torch.ones(1), (10**7, 10**7))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "change, words",
    [
        (_sparse, "is a sparse or nested tensor"),
        (lambda torch, t: torch.eye(4).to_sparse_csr(), "is a sparse or nested tensor"),
        (lambda torch, t: torch.nested.nested_tensor([t[0], t[0, :2]]), "is a sparse or nested"),
        (lambda torch, t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "is quantised; save"),
        (lambda torch, t: t.to("meta"), "is on torch's device meta"),
        (_spread, "holds arrays of 4e.05 GB, more"),
    ],
)
def test_tensors_that_are_no_arrays_are_named(tmp_path, state_dict, change, words):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(array.copy()) for name, array in state_dict.items()}
    torch.save(tensors | {NAME: change(torch, tensors[NAME])}, tmp_path / "w.pth")
    with pytest.raises(checkpoints.CheckpointError, match=f"w.pth.*{words}") as error:
        checkpoints.load_model(tmp_path / "w.pth")
    assert "\n" not in str(error.value)


def test_a_compressed_pth_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.zeros(10_000)}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as plain,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in plain.namelist():
            small.writestr(name, plain.read(name))
    with pytest.raises(checkpoints.CheckpointError, match="small.pth .*records are compressed"):
        checkpoints.load_model(tmp_path / "small.pth")


def test_a_dict_that_holds_itself_is_no_endless_search(tmp_path):
    torch = pytest.importorskip("torch")
    own = {}
    own["params"] = own
    torch.save(own, tmp_path / "w.pth")
    with pytest.raises(checkpoints.CheckpointError, match="w.pth holds no state dict"):
        checkpoints.load_model(tmp_path / "w.pth")
