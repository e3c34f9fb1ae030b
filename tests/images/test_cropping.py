import pytest

from hcflow_jax.images import crop


@pytest.mark.parametrize(
    "size, multiple, side, rows, columns",
    [
        ((8, 12), 4, None, (0, 8), (0, 12)),
        ((11, 15), 4, None, (0, 8), (0, 12)),
        ((40, 61), 4, 17, (12, 28), (20, 36)),
        ((40, 61), 4, 50, (0, 40), (4, 52)),
        ((41, 61), 1, 3, (19, 22), (29, 32)),
    ],
)
def test_parts_divide_and_lie_in_the_centre(size, multiple, side, rows, columns):
    found = [(s.start, s.stop) for s in crop(size, multiple, side)]
    assert found == [rows, columns]
