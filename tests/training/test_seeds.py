"""Random streams of a training, by name."""

import jax
import numpy as np
import pytest

from hcflow_jax.training import memory, seeds
from hcflow_jax.training.initial import initial_state
from tests.command import config, recipe
from tests.platforms import accelerator, tolerance

NAMES = (
    "parameters",
    "iterations",
    "discriminator",
    "validation likelihood",
    "validation samples",
    "data",
)


def test_streams_are_those_of_their_names():
    """CRC-32 of "data" is 0xadf3f363: another hash would change every training."""
    expected = jax.random.fold_in(jax.random.key(7), np.uint32(0xADF3F363))
    assert jax.random.key_data(seeds.key(7, "data")).tolist() == (
        jax.random.key_data(expected).tolist()
    )
    assert seeds.number(7, "data") == int(jax.random.bits(expected, dtype=np.uint32))


@accelerator
def test_numbers_are_the_same_on_every_platform():
    key = seeds.key(7, "iterations")
    assert jax.random.bits(key, (2,), np.uint32).tolist() == [172068739, 1679321031]
    found = jax.random.normal(key, (2,), np.float32)
    np.testing.assert_allclose(found, [-1.7499576, -0.27672064], rtol=0, atol=tolerance("noise"))


def test_no_stream_of_a_seed_is_that_of_another_seed_or_name():
    """Sums of seeds were: the discriminator of seed 0 was drawn as the noise of seed 1."""
    streams = [seeds.key(seed, name) for seed in range(5) for name in NAMES]
    streams += [jax.random.fold_in(jax.random.key(seed), k) for seed in range(8) for k in range(8)]
    streams += [jax.random.key(seed) for seed in range(8)]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in streams}) == len(streams)


class Seen(Exception):  # noqa: N818
    pass


def test_initial_weights_are_drawn_by_the_generator_that_all_platforms_share(monkeypatch):
    """JAX's other generators draw other bits on every platform."""

    def quickly_compiled(lowered):
        def init(key):
            raise Seen(str(jax.random.key_impl(key)), jax.random.key_data(key).tolist())

        return init

    monkeypatch.setattr(memory, "quickly_compiled", quickly_compiled)
    found = config("sr_x4", "smoke")
    found.model.update({"steps": (1,), "conditional_steps": (0,)})
    with pytest.raises(Seen) as seen:
        initial_state(recipe(found), {})
    assert seen.value.args == (
        "threefry2x32",
        jax.random.key_data(seeds.key(0, "parameters")).tolist(),
    )
