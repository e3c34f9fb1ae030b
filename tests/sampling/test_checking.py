"""Samples held against their input."""

import jax.numpy as jnp
import numpy as np
import pytest

from hcflow_jax import sampling
from hcflow_jax.images.resize import imresize
from hcflow_jax.sampling import checking, pictures
from tests.tiny import ONE_LEVEL

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_departures_are_those_of_matlabs_bicubic(scale):
    lr, hr = RNG.random((2, 9, 12, 3)), RNG.random((2, 9 * scale, 12 * scale, 3)) * 3 - 1
    found = np.asarray(checking.departures(jnp.asarray(lr), jnp.asarray(hr)))
    for one_lr, one_hr, (own, plain) in zip(lr, hr, np.moveaxis(found, -1, 1), strict=True):
        for image, values in ((one_hr, own), (imresize(one_lr, scale), plain)):
            error = 255 * (imresize(np.clip(image, 0, 1), 1 / scale) - one_lr)
            square = np.pad(np.square(error).max(-1), 2, mode="symmetric")
            windows = np.lib.stride_tricks.sliding_window_view(square, (5, 5))
            np.testing.assert_allclose(values, np.sqrt(windows.mean((2, 3))), rtol=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_told_apart_before_the_clamp(value):
    hr = np.full((1, 16, 16, 3), 0.5)
    hr[0, 5, 10, 1] = value
    found = np.asarray(checking.departures(jnp.full((1, 8, 8, 3), 0.5), jnp.asarray(hr)))
    assert np.argwhere(np.isnan(found)).tolist() == [[0, 2, 5, 0]]
    clamped = np.asarray(pictures.clamped(jnp.asarray(hr)))
    assert np.argwhere(np.isnan(clamped)).tolist() == [[0, 5, 10, 1]]


STRANGE, HOPELESS, OVERFLOWING, FICKLE = 1.0, 0.9, 0.8, 0.75
"""Red of LR pixels of which the sampler below makes blobs of noise, of black, and infinity; and
blobs of noise in samples other than the first."""


def _sampler(model, back_project, params, lr, amplitudes, origins, seeds, indices):
    """Bicubic enlargement and a little noise of 2 × 2 pixels; trouble at the colours above."""

    def large(plane):
        return np.asarray(plane).repeat(2, axis=1).repeat(2, axis=2)[..., None]

    lr, amplitudes = np.asarray(lr), np.asarray(amplitudes)[..., 0]
    temperatures = np.linalg.norm(amplitudes, axis=-1)
    hr = np.stack([imresize(image, 2) for image in lr])
    rows, columns = np.mgrid[: lr.shape[1], : lr.shape[2]]
    places = [rows + row + 7 * (columns + column) for row, column in np.asarray(origins)]
    phases = np.stack(indices, axis=-1)[:, None, None, :]
    red = lr[..., 0, None]
    strange = (red == STRANGE) | ((red == FICKLE) & (phases > 0))
    noise = np.sin(13 * np.stack(places)[..., None] + phases) * np.where(strange, 0.5, 0.02)
    red, noise = lr[..., 0], (amplitudes * noise).sum(-1)
    hr = hr + large(noise)
    hr = np.where(large(red == np.float32(HOPELESS)), 0, hr)
    hr = np.where(large((red == np.float32(OVERFLOWING)) & (temperatures > 0.3)), np.inf, hr)
    hr = jnp.asarray(hr, jnp.float32)
    return pictures.clamped(hr), checking.departures(jnp.asarray(lr), hr)


@pytest.fixture
def sample(monkeypatch):
    """sample(LR picture, temperature, …) of the sampler above."""
    monkeypatch.setattr(pictures, "_sample_windows", _sampler)

    def draw(lr, temperature, tile=512, task="sr", **options):
        inputs = [(lr.astype(np.float32), 0)]
        model = ONE_LEVEL[task]
        return next(sampling.sample_all(model, {}, inputs, temperature, tile=tile, **options))

    return draw


def _picture(red, height=200, width=260, top=84, left=100):
    """Smooth, and 8 × 8 pixels of that red."""
    rows, columns = np.mgrid[:height, :width]
    lr = np.stack([0.3 + 0.1 * np.sin(rows / 9), 0.5 + 0.2 * np.sin(columns / 7), rows / 300], -1)
    lr[top : top + 8, left : left + 8, 0] = red
    return lr


def test_what_matches_is_left_alone(sample):
    lr = _picture(0.3)
    found = sample(lr, 1.0)
    assert (found.colder, found.bicubic) == (0, 0)
    assert found.colder_in is None and found.bicubic_in is None
    np.testing.assert_array_equal(found.pixels, sample(lr, 1.0, check=False).pixels)


def test_places_that_stray_are_drawn_colder_and_no_others(sample):
    lr = _picture(STRANGE)
    found, plain = sample(lr, 1.0), sample(lr, 1.0, check=False)
    assert found.bicubic == 0
    # rows 84…91 and columns 100…107 are in one place; its neighbours are drawn again with it
    changed = np.any(found.pixels != plain.pixels, axis=-1)
    around = np.zeros(changed.shape, bool)
    around[2 * 64 : 2 * 112, 2 * 80 : 2 * 128] = True
    assert changed[around].mean() > 0.9 and not changed[~around].any()
    assert found.colder == pytest.approx(48 * 48 / (200 * 260))
    assert found.colder_in == (80, 64, 48, 48)
    cold = sample(lr, 0.0).pixels
    inside = slice(2 * 84, 2 * 92), slice(2 * 100, 2 * 108)
    np.testing.assert_array_equal(found.pixels[inside], cold[inside])
    np.testing.assert_array_equal(found.pixels, sample(lr, 1.0).pixels)


def test_half_the_temperature_is_tried_before_none(sample):
    found = sample(_picture(STRANGE), 0.4)
    half = sample(_picture(STRANGE), 0.2, check=False)
    inside = slice(2 * 84, 2 * 92), slice(2 * 100, 2 * 108)
    np.testing.assert_array_equal(found.pixels[inside], half.pixels[inside])


def test_where_all_temperatures_fail_bicubic_stands(sample):
    lr = _picture(HOPELESS)
    for temperature in (0.8, 0.0):
        found = sample(lr, temperature)
        place = slice(2 * 80, 2 * 96), slice(2 * 96, 2 * 112)
        expected = np.clip(imresize(lr, 2), 0, 1)[place]
        np.testing.assert_allclose(found.pixels[place], expected, atol=1e-6)
        assert found.bicubic == pytest.approx(16 * 16 / (200 * 260))
        assert found.bicubic_in == (96, 80, 16, 16)


@pytest.mark.parametrize("task", ["sr", "rescaling"])
def test_what_is_not_finite_is_drawn_again(sample, task):
    found = sample(_picture(OVERFLOWING), 0.5, task=task)
    assert np.all(np.isfinite(found.pixels)) and found.colder > 0 and found.bicubic == 0
    assert np.isnan(sample(_picture(OVERFLOWING), 0.5, task=task, check=False).pixels).any()


def test_restoring_asks_for_finite_values_alone(sample):
    found = sample(_picture(STRANGE), 1.0, task="rescaling")
    assert (found.colder, found.bicubic) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("red", [STRANGE, HOPELESS, OVERFLOWING])
def test_windows_agree_after_drawing_again(sample, red):
    """The strange pixels lie where windows of 256 overlap, and at the picture's border."""
    lr = _picture(red, top=100)
    lr[-5:, -9:, 0] = red
    whole, tiled = (sample(lr, 0.8, tile=tile) for tile in (512, 256))
    assert whole.colder == tiled.colder > 0 and whole.bicubic == tiled.bicubic
    np.testing.assert_allclose(tiled.pixels, whole.pixels, atol=1e-6)


def _code(pixels):
    """8 bits of one channel; what is not finite is overwritten later, or told by `finite`."""
    levels = np.floor(255 * np.clip(pixels[..., :1], 0, 1) + 0.5)
    return np.nan_to_num(levels).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("red", [STRANGE, HOPELESS, OVERFLOWING])
@pytest.mark.parametrize("tile", [512, 256])
def test_samples_kept_in_fewer_bytes_are_those_in_floats(sample, red, tile):
    lr = _picture(red)
    for options in ({"check": True}, {"check": False}):
        plain, coded = (
            sample(lr, 0.8, tile, codes=codes, **options) for codes in (None, iter([_code]))
        )
        assert coded.pixels.dtype == np.uint8 and coded.pixels.shape == (400, 520, 1)
        np.testing.assert_array_equal(coded.pixels, _code(plain.pixels))
        assert (coded.colder, coded.bicubic) == (plain.colder, plain.bicubic)
        assert coded.finite == plain.finite == bool(np.isfinite(plain.pixels).all())


def test_parts_drawn_anew_are_kept_in_fewer_bytes_too(sample):
    lr, model = _picture(STRANGE).astype(np.float32), ONE_LEVEL["sr"]
    plain, coded = (
        next(sampling.resample_all(model, {}, lr, 1.0, (80, 60, 90, 70), [3], tile=512, code=code))
        for code in (None, _code)
    )
    np.testing.assert_array_equal(coded.pixels, _code(plain.pixels))


def test_what_is_drawn_again_is_not_counted_as_progress(sample):
    counts = []
    found = sample(_picture(STRANGE), 1.0, 256, progress=counts.append)
    assert found.colder > 0 and sum(counts) == 0 and counts[0] == sum(map(abs, counts)) / 2


@pytest.mark.parametrize("red", [0.3, STRANGE, FICKLE])
def test_a_part_drawn_anew_is_checked_and_nothing_else_touched(sample, red):
    """The strange pixels lie across the border of the part, in a network that mixes no pixels."""
    lr = _picture(red).astype(np.float32)
    region = (2 * 104, 2 * 60, 2 * 40, 2 * 60)
    model, inside = ONE_LEVEL["sr"], np.zeros((400, 520), bool)
    inside[120:240, 208:288] = True
    old = next(sampling.sample_all(model, {}, [(lr, 0)], 1.0, tile=512))
    versions = sampling.resample_all(model, {}, lr, 1.0, region, [3, 0], tile=512)
    new, same = next(versions), next(versions)
    assert np.any(new.pixels != old.pixels, axis=-1)[inside].mean() > 0.4
    np.testing.assert_array_equal(new.pixels[~inside], old.pixels[~inside])
    assert (new.colder > 0, old.colder > 0) == (red in (STRANGE, FICKLE), red == STRANGE)
    departed = checking.departures(jnp.asarray(lr[None]), jnp.asarray(new.pixels[None]))[..., 0]
    assert float(departed.max()) <= checking.LIMIT
    if red != STRANGE:
        np.testing.assert_array_equal(same.pixels, old.pixels)


def test_a_map_of_temperatures_is_lowered_place_by_place(sample):
    lr = _picture(STRANGE)
    asked = np.linspace(0, 1, 260)[None].repeat(200, 0)
    found, plain = sample(lr, asked), sample(lr, asked, check=False)
    changed = np.any(found.pixels != plain.pixels, axis=-1)
    around = np.zeros(changed.shape, bool)
    around[2 * 64 : 2 * 112, 2 * 80 : 2 * 128] = True
    assert changed.any() and not changed[~around].any()
    assert 0 < found.colder <= 48 * 48 / (200 * 260)


@pytest.mark.parametrize("temperature", [-0.1, np.nan, np.inf, 2.5])
def test_temperatures_without_meaning_are_refused(sample, temperature):
    with pytest.raises(ValueError, match=f"temperature {temperature} "):
        sample(_picture(0.3), temperature)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_noise_is_drawn_as_near_to_its_input_as_bicubic(seed):
    """By the shipped weights, whose samples of one-bit noise stray at temperature 1.

    Where the two meet, an LR pixel depends on both, and may be a level or two farther than either.
    """
    lr = np.random.default_rng(seed).integers(0, 2, (32, 32, 3)).astype(np.float32)
    model, params = sampling.load()
    found = next(sampling.sample_all(model, params, [(lr, 0)], 1.0))
    assert found.colder > 0
    departures = np.asarray(checking.departures(lr[None], found.pixels[None])[0])
    own, plain = np.moveaxis(departures, -1, 0)
    beyond = own - np.maximum(checking.LIMIT, plain)
    near = np.zeros(own.shape, bool)
    if found.bicubic_in is not None:
        x, y, width, height = found.bicubic_in
        reach = checking.NEIGHBOURHOOD
        above, left = max(y - reach, 0), max(x - reach, 0)
        near[above : y + height + reach, left : x + width + reach] = True
        near[y + reach : y + height - reach, x + reach : x + width - reach] = False
    assert np.all(beyond[~near] <= 1e-3)
    assert np.all(beyond <= 2)
