"""Learning rates against the recorded ones, and what is refused."""

import numpy as np
import pytest

from hcflow_jax.training import schedules
from tests.support import modules

BASE = 2.5e-4
RECORDED = {
    "multistep": schedules.multistep(BASE, (20, 50, 50, 70)),
    "multistep_restart": schedules.multistep(BASE, (10, 20, 60), restarts=(40,), weights=(0.5,)),
    "cosine_restart": schedules.cosine(BASE, (40, 60), (40,), (0.7,), 1e-7),
}


@pytest.mark.parametrize("name", RECORDED)
def test_schedules_are_the_recorded_ones(name):
    found = [float(RECORDED[name](i)) for i in range(1, 101)]
    expected = modules()[0][f"schedule/{name}"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.max())
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-9)


def test_without_restarts_they_are_the_plain_ones():
    steps = schedules.multistep(1.0, (3,), gamma=0.1)
    np.testing.assert_allclose([steps(i) for i in (1, 2, 3, 9)], [1, 1, 0.1, 0.1], rtol=1e-6)
    waves = schedules.cosine(1.0, (10,))
    np.testing.assert_allclose([waves(i) for i in (0, 5, 10)], [1, 0.5, 0], atol=1e-6)


def test_a_cycle_may_have_the_rate_zero_or_one_below_the_least():
    wave = schedules.cosine(1.0, (10, 10), (10,), (0.0,), least=0.5)
    found = [float(wave(i)) for i in (0, 5, 11, 16, 30)]
    np.testing.assert_allclose(found, [1, 0.75, 0, 0.25, 0.5], atol=1e-6)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: schedules.multistep(1.0, (), restarts=(4,)), "1 restarts .* 0"),
        (lambda: schedules.multistep(1.0, (), 0.5, (4, 2), (1, 1)), "increase"),
        (lambda: schedules.cosine(1.0, (5,), (5,), (1.0,)), "2 periods, got 1"),
    ],
)
def test_bad_restarts(make, words):
    with pytest.raises(ValueError, match=words):
        make()
