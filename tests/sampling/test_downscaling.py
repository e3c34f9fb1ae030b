"""The search for small pictures that restore better."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcflow_jax import sampling
from hcflow_jax.images import jpeg, metrics
from hcflow_jax.images.resize import bicubic, imresize
from hcflow_jax.sampling import downscaling, memory
from tests.support import randomized
from tests.tiny import ONE_LEVEL

RESCALING = ONE_LEVEL["rescaling"]


@pytest.fixture(scope="module")
def params():
    shapes = jax.eval_shape(RESCALING.init_params, jax.random.key(0))
    return RESCALING.prepare(randomized(shapes, dtype=np.float64))


@pytest.fixture(scope="module")
def hr():
    """[2, 32, 48, 3], smooth."""
    noise = np.random.default_rng(0).random((2, 4, 6, 3))
    return jnp.asarray(np.stack([np.clip(imresize(image, 8), 0, 1) for image in noise]))


def _loss(params, hr, lr, quality):
    """What `refined` says that it lowers, written out for pictures as files keep them."""
    saved = np.round(255 * lr) / 255
    if quality:
        saved = np.asarray(jpeg.compress(jnp.asarray(lr), quality, "4:4:4"))
    zeros = [np.zeros(shape) for shape in RESCALING.latent_shapes(lr.shape)]
    error = np.asarray(RESCALING.decode(params, jnp.asarray(saved), zeros) - hr)
    luma = error @ np.array([65.481, 128.553, 24.966]) / 255
    away = lr - np.asarray(bicubic(hr, down=2))
    return float(((error**2).sum() + 6 * (luma**2).sum()) / 4 + (away**2).sum())


@pytest.mark.slow
@pytest.mark.parametrize("quality", [None, 80])
def test_what_is_minimised_falls_with_every_few_steps(params, hr, quality):
    lr, losses = jnp.clip(RESCALING.encode(params, hr).lr, 0, 1), []
    for steps in (0, 3, 30):
        found = sampling.refined(RESCALING, params, hr, lr, steps, quality)
        assert found.dtype == hr.dtype and 0 <= found.min() <= found.max() <= 1
        losses.append(_loss(params, hr, np.asarray(found), quality))
    assert losses[0] == pytest.approx(_loss(params, hr, np.asarray(lr), quality), rel=1e-12)
    assert losses[1] < 0.99 * losses[0] and losses[2] < 0.95 * losses[1]


def test_the_best_small_picture_is_kept_where_steps_lead_away():
    old, new = (jnp.full((3, 2, 2, 3), value) for value in (0.2, 0.8))
    search = downscaling._begin(old)
    for losses in ([1.0, 1.0, 1.0], [0.5, 2.0, np.nan], [0.7, 1.0, 1.5]):
        search = downscaling._kept(search, jnp.asarray(losses))._replace(lr=new)
    assert search.losses.tolist() == [0.5, 1.0, 1.0]
    assert search.best.mean((1, 2, 3)) == pytest.approx([0.8, 0.2, 0.2])


@pytest.mark.slow
@pytest.mark.parametrize("quality", [5, 20])
def test_no_search_ends_where_more_is_lost(params, hr, quality):
    """Of coarse JPEGs, on which gradients hardly tell what steps do."""
    lr = jnp.clip(RESCALING.encode(params, hr).lr, 0, 1)
    before, after = (
        [
            _loss(params, x[None], y[None], quality)
            for x, y in zip(
                hr,
                np.asarray(sampling.refined(RESCALING, params, hr, lr, steps, quality)),
                strict=True,
            )
        ]
        for steps in (0, 3)
    )
    assert all(new <= old for new, old in zip(after, before, strict=True))


def test_it_reports_every_step_and_is_ended_by_what_that_raises(params, hr):
    lr, told = RESCALING.encode(params, hr).lr, []
    sampling.refined(RESCALING, params, hr, lr, 3, report=lambda: told.append(0))
    assert len(told) == 3
    inputs = [np.asarray(hr[0], np.float32)] * 2
    weights, few = jax.tree.map(np.float32, params), []

    def cancelled(count):
        few.append(count)
        if few.count(-1) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        list(sampling.downscale_all(RESCALING, weights, inputs, refine=3, progress=cancelled))
    assert few in ([4, 4, -1, -1, -1], [4, -1, -1, -1])  # by how many devices there are


@pytest.mark.parametrize(("refine", "batch"), [(0, 1), (2, 1), (2, 2)])
def test_all_the_work_that_progress_is_told_of_is_done_in_the_end(params, hr, refine, batch):
    weights, told = jax.tree.map(np.float32, params), []
    inputs = [np.asarray(hr[0], np.float32)] * 3
    options = {"refine": refine, "batch": batch, "progress": told.append}
    list(sampling.downscale_all(RESCALING, weights, inputs, **options))
    assert sum(count for count in told if count > 0) == 3 * (1 + refine)
    assert sum(told) == 0


@pytest.mark.slow
def test_pictures_of_a_batch_do_not_touch_each_other(params, hr):
    lr = jnp.clip(RESCALING.encode(params, hr).lr, 0, 1)
    both = sampling.refined(RESCALING, params, hr, lr, 3)
    alone = sampling.refined(RESCALING, params, hr[1:], lr[1:], 3)
    np.testing.assert_allclose(both[1:], alone, rtol=0, atol=1e-9)


def test_what_is_not_finite_stays_so_and_harms_nothing_else(params, hr):
    lr = jnp.clip(RESCALING.encode(params, hr).lr, 0, 1).at[0, 1, 2, 0].set(jnp.nan)
    found = np.asarray(sampling.refined(RESCALING, params, hr, lr, 3))
    assert np.argwhere(np.isnan(found)).tolist() == [[0, 1, 2, 0]]


@pytest.mark.slow
def test_windows_agree_with_the_whole_picture(params):
    params = jax.tree.map(np.float32, params)
    noise = np.random.default_rng(1).random((38, 55, 3), dtype=np.float32)
    hr = np.clip(imresize(noise, 8), 0, 1)
    whole, tiled, plain = (
        sampling.downscale(RESCALING, params, hr, tile, refine=steps)
        for tile, steps in ((512, 4), (256, 4), (512, 0))
    )
    assert whole.shape == (152, 220, 3)
    assert np.abs(whole - plain).mean() > 2e-3
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-4)


def test_it_takes_more_memory():
    sizes = dict(lr_size=(500, 500), tile=1024, held=0)
    assert memory.needed(RESCALING, **sizes, refine=True) > 1e9 + memory.needed(RESCALING, **sizes)
    chosen = [
        memory.fitting(RESCALING, (500, 500), 0, int(1.5e9), refine=refine)
        for refine in (False, True)
    ]
    assert chosen[1] < chosen[0]


@pytest.mark.slow
def test_more_is_restored_by_the_shipped_weights_of_scale_2(demo_photograph):
    """Those of ×4, of PNGs and JPEGs, by the commands: tests/cli/test_scales.py."""
    model, params = sampling.load(None, "rescaling", 2)
    photograph = demo_photograph[32:160, 32:160]
    hr = photograph.astype(np.float32) / 255
    found, distances = [], []
    for steps in (0, 5):
        small = metrics.to_uint8(sampling.downscale(model, params, hr, refine=steps))
        again = sampling.sample(model, params, small.astype(np.float32) / 255, 0.0)
        found.append(metrics.psnr_y(metrics.to_uint8(again), photograph, 2))
        distances.append(metrics.psnr(small, imresize(photograph, 1 / 2)))
    assert found[1] > found[0] + 0.4
    assert distances[1] > distances[0] - 1
