"""Between samples, level by level, parts drawn anew, the best of several, unlikely places."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcflow_jax import sampling
from hcflow_jax.errors import UserError
from hcflow_jax.images import metrics
from hcflow_jax.sampling import Noise, exploring, tiling
from tests.support import randomized
from tests.tiny import ONE_LEVEL, SR

RNG = np.random.default_rng(0)
MODEL = ONE_LEVEL["sr"]
SMALL = RNG.random((32, 32, 3), dtype=np.float32)
LARGE = RNG.random((150, 217, 3), dtype=np.float32)


def _params(model):
    shapes = jax.eval_shape(model.init_params, jax.random.key(0))
    return model.prepare(randomized(shapes, dtype=np.float32))


@pytest.fixture(scope="module")
def params():
    return _params(MODEL)


@pytest.fixture(scope="module")
def two_levels():
    return _params(SR)


def _resampled(params, region, index=1, **options):
    options = {"tile": 512, "check": False} | options
    found = sampling.resample_all(MODEL, params, LARGE, 0.8, region, [index], **options)
    return next(found).pixels


@pytest.fixture(scope="module")
def old(params):
    """The sample whose parts are drawn anew."""
    found = sampling.sample_all(MODEL, params, [(LARGE, 0)], 0.8, tile=512, check=False)
    return next(found).pixels


def test_a_way_between_two_samples_ends_at_them(two_levels):
    def frame(weight):
        return sampling.interpolate(SR, two_levels, SMALL, 0.5, weight, (4, 2), 1, check=False)

    ends = [sampling.sample(SR, two_levels, SMALL, 0.5, 1, i, check=False) for i in (4, 2)]
    for weight, end in zip((0, 1), ends, strict=True):
        np.testing.assert_array_equal(frame(weight), end)
    steps = [frame(weight) for weight in (0, 0.25, 0.5, 0.75, 1)]
    jumps = [np.abs(a - b).mean() for a, b in zip(steps[1:], steps, strict=False)]
    assert 0 < max(jumps) < 0.6 * np.abs(ends[0] - ends[1]).mean()


@pytest.mark.parametrize("weight", [-0.1, 1.1, np.nan])
def test_weights_beyond_the_ends_are_refused(weight):
    with pytest.raises(UserError, match=f"weight {weight} is not from 0 to 1"):
        sampling.interpolate(SR, {}, SMALL, 0.5, weight)


def test_levels_are_those_of_their_samples(two_levels):
    def mixed(*indices):
        return sampling.mix_levels(SR, two_levels, SMALL, 0.5, indices, check=False)

    plain = sampling.sample(SR, two_levels, SMALL, 0.5, index=3, check=False)
    np.testing.assert_array_equal(mixed(3, 3), plain)
    assert len({mixed(*pair).tobytes() for pair in ((3, 3), (3, 4), (4, 3), (4, 4))}) == 4
    with pytest.raises(UserError, match=r"×4 model has 2 levels, got 3 indices \(1, 2, 3\)"):
        mixed(1, 2, 3)


MIDDLE, CORNER = (200, 140, 37, 21), (400, 280, 34, 20)


def test_a_region_is_widened_to_whole_lr_pixels():
    mask = exploring.region_mask((7, 8, 2, 5), (10, 12), 4)
    assert np.argwhere(mask).tolist() == [[2, 1], [2, 2], [3, 1], [3, 2]]


@pytest.mark.parametrize("region", [MIDDLE, CORNER])
def test_pixels_beyond_the_halo_are_equal_to_the_bit(params, old, region):
    new = _resampled(params, region)
    x, y, width, height = region
    near = np.zeros(old.shape[:2], bool)
    near[max(y - 64, 0) : y + height + 65, max(x - 64, 0) : x + width + 65] = True
    np.testing.assert_array_equal(new[~near], old[~near])
    np.testing.assert_array_equal(metrics.to_uint8(new[~near]), metrics.to_uint8(old[~near]))
    inside = slice(y, y + height), slice(x, x + width)
    changed = np.any(new[inside] != old[inside], axis=-1)
    assert changed.mean() > 0.95


def test_nothing_is_cut_off_where_the_network_sees_less_than_the_halo(params, old):
    """What noise reaches, by gradients, is what is changed, and no pixel more."""
    mask = exploring.region_mask(MIDDLE, LARGE.shape[:2], 2)
    of = Noise((0,)).anew(mask, 1)
    whole = next(
        sampling.sample_all(MODEL, params, [(LARGE, of)], 0.8, tile=512, check=False)
    ).pixels
    np.testing.assert_array_equal(_resampled(params, MIDDLE), whole)
    rows, columns = np.nonzero(np.any(whole != old, axis=-1))
    reach = _reach(params)
    assert 0 < reach < tiling.HALO
    for found, start, side in ((rows, MIDDLE[1], MIDDLE[3]), (columns, MIDDLE[0], MIDDLE[2])):
        assert start - reach - 2 < found.min() <= start and found.max() <= start + side + reach + 1


def test_what_the_network_sees_beyond_the_halo_stays(params, old):
    """As full-size networks see more than 64 pixels."""
    halo = _reach(params) - 3
    new = _resampled(params, MIDDLE, halo=halo)
    x, y, width, height = MIDDLE
    near = np.zeros(old.shape[:2], bool)
    near[y - halo : y + height + halo + 1, x - halo : x + width + halo + 1] = True
    np.testing.assert_array_equal(new[~near], old[~near])
    assert np.any(_resampled(params, MIDDLE)[~near] != old[~near])


def _reach(params, side=40):
    """Pixels from an LR pixel to the farthest pixel of the result that its noise changes."""
    plain, lr = dataclasses.replace(MODEL, kernels="plain"), jnp.full((1, side, side, 3), 0.5)
    latents = tiling.latents(MODEL, jax.random.key(0), jnp.array([0, 0]), side, side)

    @jax.jit
    def tangent(at):
        return jax.jvp(lambda e: plain.decode(params, lr, [e]), (latents[0][None],), (at,))[1]

    one = jnp.zeros_like(latents[0][None]).at[0, side // 2, side // 2].set(1.0)
    model_rows = np.nonzero(np.any(np.asarray(tangent(one))[0] != 0, axis=(1, 2)))[0]
    return max(side - model_rows.min(), model_rows.max() - side - 1)


@pytest.mark.slow
@pytest.mark.parametrize("region", [MIDDLE, CORNER])
def test_windows_do_not_matter(params, region):
    whole, tiled = (_resampled(params, region, tile=tile) for tile in (512, 256))
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-4)


def test_only_windows_of_the_region_are_drawn_anew(params):
    counts = []
    versions = sampling.resample_all(
        MODEL, params, LARGE, 0.8, CORNER, [1, 2], tile=256, check=False, progress=counts.append
    )
    one, two = versions
    assert [count for count in counts if count > 0] == [15, 4, 4]
    assert np.any(one.pixels != two.pixels)


@pytest.mark.slow
def test_a_part_is_the_same_drawn_alone_or_after_others(params):
    versions = sampling.resample_all(
        MODEL, params, LARGE, 0.8, MIDDLE, [1, 2], tile=512, check=False
    )
    np.testing.assert_array_equal(list(versions)[1].pixels, _resampled(params, MIDDLE, index=2))


@pytest.mark.parametrize(
    "region, temperature, words",
    [
        ((0, 0, 0, 5), 0.5, "region 0,0,0,5 is empty; give a width"),
        ((0, 0, 5, -1), 0.5, "is empty"),
        ((60, 0, 5, 5), 0.5, "is not inside the result of 64×64 pixels; .* x \\+ w up to 64"),
        ((-1, 0, 5, 5), 0.5, "is not inside"),
        ((0, 60, 5, 5), 0.5, "is not inside"),
        ((0, 0, 5, 5), 0.0, "region 0,0,5,5 would stay as it is at temperature 0"),
        ((0, 0, 5, 5), np.array([[0.0] * 4 + [1.0] * 4]), "would stay as it is"),
        ((0, 0, 5, 5), 3.0, "temperature 3.0"),
    ],
)
def test_regions_in_which_nothing_can_be_drawn_are_refused(region, temperature, words):
    with pytest.raises(UserError, match=words):
        sampling.resample(MODEL, {}, SMALL, temperature, region)


def test_the_best_is_the_best():
    pixels = [np.full((2, 2, 3), value) for value in (0.5, 0.9, 0.1, 0.9)]
    best = sampling.best_of(iter(pixels), np.mean)
    assert best.number == 1 and best.pixels is pixels[1]
    np.testing.assert_allclose(best.scores, [0.5, 0.9, 0.1, 0.9])
    assert sampling.best_of(pixels, np.mean, lowest=True).number == 2
    with pytest.raises(UserError, match="no samples"):
        sampling.best_of([], np.mean)
    with pytest.raises(UserError, match="NaN for sample 0"):
        sampling.best_of(pixels, lambda x: np.nan)


def test_energy_is_the_mean_square_of_a_places_latents(two_levels):
    """Of a picture that the flow drew itself: that of what it was drawn from."""
    drawn = tiling.latents(SR, jax.random.key(0), jnp.array([0, 0]), 32, 32)
    hr = jax.jit(SR.decode)(two_levels, SMALL[None], [level[None] for level in drawn])[0]
    found = sampling.latent_energy(SR, two_levels, np.asarray(hr))
    blocks = [np.reshape(x, (32, len(x) // 32, 32, len(x) // 32, -1)) for x in drawn]
    squares = sum(np.square(x).sum((1, 3, 4)) for x in blocks)
    np.testing.assert_allclose(found, squares / 45, rtol=1e-2)
    assert abs(found.mean() - 1) < 0.02


def test_energy_of_any_size_and_window(params):
    hr = RNG.random((301, 433, 3), dtype=np.float32)
    whole, tiled = (sampling.latent_energy(MODEL, params, hr, tile) for tile in (512, 256))
    assert whole.shape == (151, 217)
    np.testing.assert_allclose(tiled, whole, rtol=1e-3)


def test_more_and_less_energy_than_the_familiar_are_both_unlike():
    familiar = [np.full((2, 2), value) for value in (1.0, 4.0)]
    scores = [sampling.unlikeness(np.full((3, 3), value), familiar) for value in (2, 20, 0.2)]
    np.testing.assert_allclose(scores, [0, np.log(10), np.log(10)], atol=1e-9)
    with pytest.raises(UserError, match="nothing to compare"):
        sampling.unlikeness(familiar[0], [])
