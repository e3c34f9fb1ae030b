"""Windows that agree: noise by place, results equal to those of the whole picture."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import export

from hcflow_jax import devices, sampling
from hcflow_jax.sampling import downscaling, pictures, tiling
from tests.platforms import accelerator, tolerance
from tests.support import randomized
from tests.tiny import ONE_LEVEL, SR

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def params():
    def draw(model):
        shapes = jax.eval_shape(model.init_params, jax.random.key(0))
        return model.prepare(randomized(shapes, dtype=np.float32))

    return {task: draw(model) for task, model in ONE_LEVEL.items()}


@given(
    side=st.integers(1, 3000), window=st.integers(40, 300), halo=st.integers(0, 19), data=st.data()
)
def test_every_pixel_is_kept_with_its_halo_around_it(side, window, halo, data):
    begins = tiling.starts(side, window, 2 * halo)
    shape = min(side, window)
    covered = np.zeros(side, bool)
    for start in begins:
        assert 0 <= start <= side - shape
        kept = tiling._span(start, begins[0], begins[-1], shape, halo)
        covered[start + kept.start : start + kept.stop] = True
        pixel = start + data.draw(st.integers(kept.start, kept.stop - 1))
        assert max(0, pixel - halo) >= start and min(side, pixel + halo + 1) <= start + shape
    assert covered.all()


@given(side=st.integers(1, 5000))
def test_pictures_up_to_a_tile_have_few_sizes(side):
    found = tiling.bucket(side)
    step = tiling.BUCKET_STEP
    assert side <= found < max(2 * side, 129) and found % step == 0
    assert found in tiling.BUCKETS if side <= tiling.TILE else found - side < step


@given(side=st.integers(tiling.TILE + 1, 20_000), tile=st.sampled_from([512, 768, 1024]))
def test_what_extends_large_pictures_adds_no_window(side, tile):
    alone = len(tiling.starts(side, tile, 2 * tiling.HALO))
    assert len(tiling.starts(tiling.bucket(side), tile, 2 * tiling.HALO)) == alone


def test_noise_belongs_to_places():
    model = ONE_LEVEL["sr"]
    key = jax.random.key(3)
    whole = tiling.latents(model, key, jnp.array([0, 0]), 70, 60)
    part = tiling.latents(model, key, jnp.array([21, 37]), 30, 20)
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(_cut(a), b)
    values = np.concatenate([np.ravel(e) for e in whole])
    assert abs(values.mean()) < 0.02 and abs(values.std() - 1) < 0.02
    other = tiling.latents(model, jax.random.key(4), jnp.array([0, 0]), 70, 60)
    assert abs(np.corrcoef(values, np.concatenate([np.ravel(e) for e in other]))[0, 1]) < 0.02


def _cut(latent):
    factor = latent.shape[0] // 70
    return latent[21 * factor : 51 * factor, 37 * factor : 57 * factor]


def test_no_two_blocks_of_noise_are_alike():
    """Nor two levels': a repetition would show in flat parts of pictures."""
    side, rows, columns = tiling.NOISE_BLOCK, 4, 3
    drawn = tiling.latents(SR, jax.random.key(3), jnp.array([0, 0]), side * rows, side * columns)
    blocks = [
        np.reshape(level, (rows, len(level) // rows, columns, len(level) // rows, -1))
        .swapaxes(1, 2)
        .reshape(rows * columns, -1)
        for level in drawn
    ]
    least = min(level.shape[1] for level in blocks)
    together = np.concatenate([level[:, :least] for level in blocks])
    found = np.corrcoef(together) - np.eye(len(together))
    assert len(together) == 24 and np.abs(found).max() < 0.15


@accelerator
@pytest.mark.parametrize("task", ["sr", "rescaling"])
def test_tiles_give_the_untiled_sample(params, task):
    model = ONE_LEVEL[task]
    lr = RNG.random((150, 217, 3), dtype=np.float32)
    whole, tiled = (
        next(sampling.sample_all(model, params[task], [(lr, 2)], 0.8, 5, tile, check=False)).pixels
        for tile in (512, 256)
    )
    assert whole.shape == (300, 434, 3) and whole.std() > 0.01
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=tolerance("windows"))


@accelerator
def test_tiles_give_the_untiled_downscaling(params):
    model = ONE_LEVEL["rescaling"]
    hr = RNG.random((300, 433, 3), dtype=np.float32)
    whole, tiled = (
        next(sampling.downscale_all(model, params["rescaling"], [hr], tile)) for tile in (512, 256)
    )
    assert whole.shape == (150, 217, 3)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=tolerance("windows"))


def test_pictures_of_many_sizes_come_in_order_and_share_programs(params):
    model = ONE_LEVEL["sr"]
    sides = RNG.integers(3, 64, (9, 2))
    inputs = [(RNG.random((*side, 3), dtype=np.float32), i) for i, side in enumerate(sides)]
    before = pictures._decode_windows._cache_size()
    known = []
    together = sampling.sample_all(
        model, params["sr"], inputs, 0.5, check=False, progress=known.append
    )
    for (lr, index), found in zip(inputs, together, strict=True):
        assert found.pixels.shape == (2 * lr.shape[0], 2 * lr.shape[1], 3)
        alone = sampling.sample(model, params["sr"], lr, 0.5, index=index, check=False)
        np.testing.assert_allclose(found.pixels, alone, rtol=0, atol=1e-6)
    assert pictures._decode_windows._cache_size() - before <= 1
    assert sum(known) == 0 and max(known) == 1


def test_batches_of_windows_give_equal_pictures(params, monkeypatch):
    model, sizes = ONE_LEVEL["sr"], []
    run = pictures._sample_windows

    def counted(model, back_project, params, lr, *others):
        sizes.append(len(lr) // devices.local_count())
        return run(model, back_project, params, lr, *others)

    monkeypatch.setattr(pictures, "_sample_windows", counted)
    inputs = [(RNG.random((100, 330, 3), dtype=np.float32), i) for i in range(2)]
    arguments = model, params["sr"], inputs, 0.8, 5, 256
    one, four = (
        list(sampling.sample_all(*arguments, check=False, batch=batch)) for batch in (1, 4)
    )
    assert sizes == [1] * 9 + [4, 4, 1]
    for a, b in zip(one, four, strict=True):
        np.testing.assert_allclose(a.pixels, b.pixels, rtol=0, atol=tolerance("windows"))


def test_a_last_batch_is_hardly_padded():
    assert [tiling._rows(count, 2, 16) for count in (1, 2, 3, 4, 5, 9, 16)] == [
        *(2, 2, 4, 4, 8, 16, 16)
    ]
    assert [tiling._rows(count, 1, 3) for count in (1, 2, 3)] == [1, 2, 3]


def test_windows_lower_for_gpus_and_tpus():
    def lowered(function, task, static, *arguments):
        model = dataclasses.replace(ONE_LEVEL[task], kernels="plain")
        params = jax.eval_shape(model.init_params, jax.random.key(0))
        exported = export.export(function, platforms=("cuda", "tpu"))(
            model, *static, params, *arguments
        )
        return exported.out_avals[0].shape[:3]

    windows = jax.ShapeDtypeStruct((2, 32, 48, 3), jnp.float32)
    places = jax.ShapeDtypeStruct((2, 2), jnp.int32)
    numbers = jax.ShapeDtypeStruct((2,), jnp.uint32)
    amplitudes = jax.ShapeDtypeStruct((2, 32, 48, 2, 1), jnp.float32)
    sample = jax.jit(pictures._sample_windows, static_argnums=(0, 1))
    for task in ("sr", "rescaling"):
        noise = (amplitudes, places, numbers, [numbers, numbers])
        assert lowered(sample, task, (2,), windows, *noise) == (2, 64, 96)
    assert lowered(downscaling._encode_lr, "rescaling", (), windows) == (2, 16, 24)


@pytest.mark.parametrize("tile", [128, 1025])
def test_tiles_that_cannot_work_are_refused(params, tile):
    lr = np.zeros((4, 4, 3), np.float32)
    with pytest.raises(ValueError, match=str(tile)):
        next(sampling.sample_all(ONE_LEVEL["sr"], params["sr"], [(lr, 0)], 0.5, tile=tile))
