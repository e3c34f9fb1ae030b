"""Mixtures of noise, and temperatures by place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcflow_jax import sampling
from hcflow_jax.errors import UserError
from hcflow_jax.sampling import noise, pictures, tiling
from hcflow_jax.sampling.noise import Noise
from tests.support import randomized
from tests.tiny import SR

RNG = np.random.default_rng(0)
LR = RNG.random((32, 32, 3), dtype=np.float32)
SEED = 5


@pytest.fixture(scope="module")
def params():
    shapes = jax.eval_shape(SR.init_params, jax.random.key(0))
    return SR.prepare(randomized(shapes, dtype=np.float32))


def _field(index):
    """Latents of LR's place, of sample number `index`."""
    place = np.zeros((1, 2), np.int32), np.array([SEED], np.uint32), np.array([index], np.uint32)
    return [np.asarray(level[0]) for level in pictures._draw_windows(SR, LR.shape[:2], *place)]


def _drawn(of, temperature=1.0):
    sampler = pictures.Sampler(SR, {}, SEED)
    picture = sampler.picture(LR, temperature, of)
    window = tiling._Window(picture, (0, 0), LR.shape[:2], ())
    _, *batch = tiling._batch([window], 1, 1)
    amplitudes, origins, seeds, indices = batch
    fields = [
        pictures._draw_windows(SR, LR.shape[:2], origins, seeds, index) for index in indices.T
    ]
    return [np.asarray(level[0]) for level in pictures._mix_windows(amplitudes, fields)]


def _sample(params, of, temperature=0.5):
    return sampling.sample(SR, params, LR, temperature, SEED, of, check=False)


def test_a_plain_sample_is_the_decoded_noise_of_its_number(params):
    key = jax.random.fold_in(jax.random.key(SEED), 3)
    drawn = tiling.latents(SR, key, jnp.array([0, 0]), *LR.shape[:2])
    latents = [0.5 * level[None] for level in drawn]
    expected = jnp.clip(jax.jit(SR.decode)(params, LR[None], latents)[0], 0, 1)
    np.testing.assert_allclose(_sample(params, 3), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("of", [Noise((3,)), Noise.between((3, 4), 0), Noise.between((9, 3), 1)])
def test_ends_are_samples_to_the_bit(params, of):
    np.testing.assert_array_equal(_sample(params, of), _sample(params, 3))


@pytest.mark.parametrize("weight", [0.2, 0.5])
def test_what_is_between_is_on_a_circle(weight):
    angle = weight * np.pi / 2
    found = _drawn(Noise.between((3, 4), weight))
    for level, a, b in zip(found, _field(3), _field(4), strict=True):
        expected = np.cos(angle) * np.asarray(a) + np.sin(angle) * np.asarray(b)
        np.testing.assert_allclose(level, expected, atol=1e-6)
    assert abs(np.concatenate([np.ravel(level) for level in found]).std() - 1) < 0.02


@pytest.mark.parametrize("indices", [(3, 4), (4, 3), (3, 3)])
def test_levels_come_from_samples_of_their_own(indices):
    found = _drawn(Noise.of_levels(indices))
    for level, index in enumerate(indices):
        np.testing.assert_array_equal(found[level], _field(index)[level])


def test_noise_is_anew_where_the_mask_is():
    mask = np.zeros((32, 32), bool)
    mask[4:9, 20:] = True
    other = np.zeros_like(mask)
    other[8:12, :22] = True
    once = Noise.of_levels((3, 4)).anew(mask, 7)
    for level, (a, b, c, found, again) in enumerate(
        zip(_field(3), _field(4), _field(7), _drawn(once), _drawn(once.anew(other, 3)), strict=True)
    ):
        where, also = (
            m.repeat(len(a) // 32, 0).repeat(len(a) // 32, 1)[..., None] for m in (mask, other)
        )
        expected = np.where(where, c, (a, b)[level])
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(again, np.where(also, a, expected))


@pytest.mark.parametrize("which", [0, 1])
def test_a_level_is_anew_and_the_other_stays(which):
    mask = np.zeros((32, 32), bool)
    mask[4:9, 20:] = True
    before = Noise.between((3, 4), 0.25).anew(mask, 5)
    found = _drawn(before.anew((np.arange(2) == which)[None, None], 7))
    expected = _drawn(before)
    expected[which] = _field(7)[which]
    for level, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(level, other)


def test_a_map_is_a_temperature_for_each_pixel():
    asked = RNG.random((32, 32)).astype(np.float32)
    for level, plain in zip(_drawn(3, asked), _field(3), strict=True):
        factor = len(plain) // 32
        expected = asked.repeat(factor, 0).repeat(factor, 1)[..., None] * plain
        np.testing.assert_array_equal(level, expected)


def test_a_map_of_one_temperature_is_that_temperature(params):
    expected = _sample(params, 3)
    for size in ((32, 32), (1, 1), (5, 7), (128, 128)):
        np.testing.assert_array_equal(_sample(params, 3, np.full(size, 0.5)), expected)


def test_maps_are_stretched_and_keep_their_range():
    steps = np.repeat([0.0, 1.5], 4)[None].repeat(3, 0)
    for size in ((3, 8), (40, 64), (2, 4)):
        found = noise.stretched(steps, *size)
        assert found.shape == size and found.dtype == np.float32
        quarter = size[1] // 4
        assert np.all(found[:, :quarter] == 0) and np.all(found[:, -quarter:] == 1.5)
        assert found.min() == 0 and found.max() == 1.5
    np.testing.assert_array_equal(noise.stretched(steps, 3, 8), steps)


def test_a_map_goes_with_pictures_of_any_size(params):
    inputs = [(LR, 0), (LR[:9, :20], 0)]
    asked = np.array([[0.0, 1.0]])
    found = list(sampling.sample_all(SR, params, inputs, asked, check=False))
    cold = list(sampling.sample_all(SR, params, inputs, 0.0, check=False))
    for a, b in zip(found, cold, strict=True):
        change = np.abs(a.pixels - b.pixels).mean((0, 2))
        assert change[: len(change) // 2].mean() < 0.5 * change[len(change) // 2 :].mean()


@pytest.mark.parametrize(
    "asked, words",
    [
        (np.zeros(3), r"must be \[h, w\], got shape \(3,\)"),
        (np.zeros((0, 3)), "must be"),
        (np.array([[0, 2.5]]), "a map of 0 to 2.5 is not from 0 to 2"),
        (np.array([[0, np.nan]]), "a map of nan to nan"),
        (np.array([[-1, 1.0]]), "a map of -1 to 1"),
    ],
)
def test_bad_maps_are_refused(asked, words):
    with pytest.raises(UserError, match=words):
        next(sampling.sample_all(SR, {}, [(LR, 0)], asked))


@pytest.mark.parametrize(
    "indices, shape, value, words",
    [
        ((0, 1), (1, 1, 1, 1), 1, "a mix of 2 samples must be"),
        ((0,), (1, 1, 1), 1, "a mix of 1 samples must be"),
        ((0, 1), (1, 1, 2, 1), 1, "squares"),
    ],
)
def test_mixes_that_are_no_mixture_are_refused(indices, shape, value, words):
    with pytest.raises(ValueError, match=words):
        Noise(indices, np.full(shape, value, np.float32))


@pytest.mark.parametrize("shape", [(31, 32, 1, 1), (1, 1, 1, 3)])
def test_mixes_of_other_pictures_are_refused(params, shape):
    with pytest.raises(ValueError, match=r"must be \(32, 32, 1, 2\)"):
        _sample(params, Noise((0,), np.ones(shape, np.float32)))


def test_temperatures_and_mixtures_go_on_beyond_the_border():
    """What is there influences the border's pixels."""
    sampler = pictures.Sampler(SR, {})
    warm, mask = np.linspace(0, 1, 20)[None].repeat(9, 0), np.zeros((9, 20), bool)
    mask[6:, 17:] = True
    picture = sampler.picture(LR[:9, :20], warm, Noise().anew(mask, 1))
    assert picture.temperatures.shape == picture.mix.shape[:2] == picture.pixels.shape[:2]
    np.testing.assert_array_equal(picture.temperatures[-1], picture.temperatures[0])
    assert np.all(picture.temperatures[:, 19:] == 1)
    np.testing.assert_array_equal(picture.mix[-1, -1], picture.mix[8, 19])
    assert picture.mix[-1, -1, 1, 0] == 1 and picture.mix[-1, 0, 1, 0] == 0


def test_a_path_from_a_sample_to_itself_stays_there():
    of = Noise.between((2, 2), 0.5)
    assert of.indices == (2,) and np.all(of.mix == 1)


def test_a_part_may_be_drawn_anew_from_a_sample_that_is_mixed_already():
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = True
    of = Noise.between((0, 3), 0.25).anew(mask, 3)
    assert of.indices == (0, 3)
    np.testing.assert_array_equal(of.mix[1, 2, :, 0], [0, 1])
    np.testing.assert_allclose(of.mix[0, 0, :, 0], Noise.between((0, 3), 0.25).mix[0, 0, :, 0])


@pytest.mark.parametrize("indices", [(1, 1), (-1,), (2**32,), (1.5,)])
def test_indices_are_different_whole_numbers(indices):
    with pytest.raises(ValueError, match="index|indices"):
        Noise(indices, np.full((1, 1, len(indices), 1), len(indices) ** -0.5, np.float32))


@pytest.mark.parametrize(
    "lr, seed",
    [
        (np.zeros((8, 9, 3), np.uint8), 0),
        (np.zeros((8, 9), np.float32), 0),
        (np.zeros((1, 8, 9, 3), np.float32), 0),
        (np.zeros((8, 9, 3), np.float32), -1),
    ],
)
def test_what_is_no_picture_or_seed_is_refused(lr, seed):
    with pytest.raises(ValueError, match="picture must be floats|seed must be a whole number"):
        sampling.sample(SR, {}, lr, 0.5, seed)
