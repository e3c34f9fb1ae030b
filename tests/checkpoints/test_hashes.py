"""What a checkpoint holds is what was written, or the array that is not is named."""

import json
import os
import shutil
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from hcflow_jax import checkpoints, cli
from hcflow_jax.checkpoints import hashes
from tests.support import randomized
from tests.tiny import ONE_LEVEL

MODEL = ONE_LEVEL["sr"]
KERNEL = "params/level0/conditional/turns/affine/affine/f/conv1/kernel"


@pytest.fixture(scope="module")
def params():
    """Random parameters, one array so much so that its bytes are stored uncompressed."""
    shapes = jax.eval_shape(MODEL.init_params, jax.random.key(0))
    params = jax.tree.map(np.asarray, randomized(shapes, dtype=np.float32))
    kernel = _kernel(params)
    bits = np.random.default_rng(0).integers(0, 2**32, kernel.shape, np.uint32).view(np.float32)
    kernel = np.where(np.isfinite(bits), bits, 0)
    params["level0"]["conditional"]["turns"]["affine"]["affine"]["f"]["conv1"]["kernel"] = kernel
    return params


@pytest.fixture(scope="module")
def written(tmp_path_factory, params):
    path = tmp_path_factory.mktemp("hashes") / "c"
    checkpoints.save_model(path, MODEL, params)
    return path


@pytest.fixture
def workdir(tmp_path, written, monkeypatch):
    """The working folder, in which the workdir "my run" has steps 10 and 20."""
    for step in (10, 20):
        shutil.copytree(written, tmp_path / f"my run/checkpoints/{step}")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "my run"


def _flip(folder, params):
    """Flips one bit of the values of KERNEL in the files of a checkpoint."""
    values = _kernel(params).tobytes()
    for file in folder.rglob("*"):
        data = bytearray(file.read_bytes()) if file.is_file() else b""
        place = data.find(values)
        if place >= 0:
            data[place + 9] ^= 4
            file.write_bytes(data)
            return
    raise AssertionError("no file holds these values")


def _kernel(params):
    return params["level0"]["conditional"]["turns"]["affine"]["affine"]["f"]["conv1"]["kernel"]


def test_a_flipped_bit_is_named_with_the_step_before(workdir, params, capsys):
    _flip(workdir / "checkpoints/20", params)
    assert cli.main(["convert", "my run", "-o", "w.npz"]) == 2
    error = capsys.readouterr().err
    step = workdir / "checkpoints/20"
    assert error == (
        f"hcflow: {step} is damaged: {KERNEL} is not what was written; `mv '{step}' "
        f"'{workdir}/damaged-20'` puts it aside; step 10 is saved as {workdir}/checkpoints/10\n"
    )
    assert not os.path.exists("w.npz")
    subprocess.run(error.split("`")[1], shell=True, check=True)
    assert cli.main(["convert", "my run", "-o", "w.npz"]) == 0


def test_the_only_step_and_a_checkpoint_alone_are_told_so(workdir, params):
    shutil.rmtree(workdir / "checkpoints/10")
    shutil.copytree(workdir / "checkpoints/20", "alone")
    for path in (workdir / "checkpoints/20", workdir.parent / "alone"):
        _flip(path, params)
    for path, words in ((workdir, "no other step is saved"), ("alone", "copy or convert it again")):
        with pytest.raises(checkpoints.CheckpointError, match=f"conv1/kernel is not .*{words}"):
            checkpoints.load_model(path)


@pytest.mark.parametrize(
    "item, change",
    [
        ("config", lambda text: text.replace('"affine"', '"shift"')),
        ("hashes", lambda text: text.replace("prior", "prjor", 1)),
        ("hashes", lambda text: text.replace("[", "{", 1)),
        ("hashes", lambda text: "[]"),
        ("hashes", lambda text: "{}"),
        ("hashes", lambda text: "{"),
    ],
)
def test_changed_text_is_noticed(workdir, item, change):
    file = workdir / f"checkpoints/20/{item}/metadata"
    text = file.read_text()
    assert change(text) != text
    file.write_text(change(text))
    with pytest.raises(checkpoints.CheckpointError, match="checkpoints/20 is damaged"):
        checkpoints.load_model(workdir / "checkpoints/20")


def test_a_checkpoint_without_hashes_is_read(workdir, params):
    shutil.rmtree(workdir / "checkpoints/20/hashes")
    _, found = checkpoints.load_model(workdir / "checkpoints/20")
    jax.tree.map(np.testing.assert_array_equal, found, params)


def test_values_of_other_types_are_compared_as_written(tmp_path):
    shapes = jax.eval_shape(MODEL.init_params, jax.random.key(0))
    for kind in (np.float64, jnp.bfloat16):
        own = jax.tree.map(lambda x, k=kind: np.asarray(x, k), randomized(shapes))
        checkpoints.save_model(tmp_path / np.dtype(kind).name, MODEL, own)
        _, found = checkpoints.load_model(tmp_path / np.dtype(kind).name)
        assert {x.dtype for x in jax.tree.leaves(found)} == {np.dtype(np.float32)}
        jax.tree.map(np.testing.assert_array_equal, found, jax.tree.map(np.float32, own))


def test_a_record_is_of_type_shape_and_values_alone():
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    mesh = jax.make_mesh((2,), ("data",), (jax.sharding.AxisType.Auto,))
    spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    (record,) = set(
        hashes.of_arrays({"x": y})["x"]
        for y in (x, np.asfortranarray(x), x.astype(">f4"), jnp.asarray(x), spread)
    )
    others = (x.astype(np.float16), x.reshape(6, 2), x + np.float32(1e-6), x.view(np.int32), x[0])
    found = {hashes.of_arrays({"x": y})["x"] for y in (*others, np.float32(0), x[:0])}
    assert len(found) == 7 and record not in found
    assert hashes.of_json({"a": (1, 0.1), "b": 2}) == hashes.of_json({"b": 2, "a": [1, 0.1]})


SPREAD = """
import json, sys
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from hcflow_jax import checkpoints
from hcflow_jax.checkpoints import hashes
from tests.checkpoints import test_hashes
x = np.arange(24, dtype=np.float32).reshape(8, 3)
mesh = Mesh(jax.devices(), ("data",))
make = lambda *axes: jax.make_array_from_callback(
    x.shape, NamedSharding(mesh, PartitionSpec(*axes)), lambda i: x[i]
)
tree = {"spread": make("data"), "copied": make(), "whole": x}
assert not tree["spread"].is_fully_addressable
checkpoints.save_model(sys.argv[3], test_hashes.MODEL, tree)
"""


def test_arrays_spread_over_processes_have_the_record_of_the_whole(tmp_path):
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        address = f"localhost:{listening.getsockname()[1]}"
    both = [
        subprocess.Popen([sys.executable, "-c", SPREAD, address, str(i), str(tmp_path / "c")])
        for i in (0, 1)
    ]
    assert [process.wait(60) for process in both] == [0, 0]
    records = json.loads((tmp_path / "c/hashes/metadata").read_text())["params"]
    whole = hashes.of_arrays({"x": np.arange(24, dtype=np.float32).reshape(8, 3)})["x"]
    assert records == dict.fromkeys(("spread", "copied", "whole"), whole)
    shapes = dict.fromkeys(records, jax.ShapeDtypeStruct((8, 3), np.float32))
    found = checkpoints.restore(tmp_path / "c", {"params": shapes})["params"]
    np.testing.assert_array_equal(found["spread"], found["whole"])


def test_a_fingerprint_is_that_of_the_weights_alone(params):
    """Prepared or not, on whatever the inverses were computed; another bit is another one."""
    found = hashes.fingerprint(params)
    assert found == hashes.fingerprint(MODEL.prepare(params)) and len(found) == 64
    changed = jax.tree.map(np.array, params)
    _kernel(changed).view(np.uint32)[0, 0, 0, 0] ^= 1
    assert hashes.fingerprint(changed) != found
