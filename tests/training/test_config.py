"""Configs that are filled in by hand."""

import re

import ml_collections
import pytest

from hcflow_jax.errors import UserError
from hcflow_jax.training import config as configuration
from tests.command import config, recipe
from tests.tiny import bent


def test_lists_stand_for_tuples():
    found = config("sr_x4", "smoke")
    found.train = ml_collections.ConfigDict(found.train.to_dict() | {"milestones": [0.25, 0.5]})
    assert recipe(found).train.milestones == (0.25, 0.5)
    found.train = ml_collections.ConfigDict(found.train.to_dict() | {"milestones": [-1.0]})
    with pytest.raises(UserError, match="train.milestones must be at least 0, got .-1.0"):
        configuration.parse(found)


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("jpeg_share", 1.5, "loss.jpeg_share is 1.5; set it to a share, from 0 to 1"),
        ("jpeg_qualities", (95, 50), "the lowest and the highest, got (95, 50)"),
        ("jpeg_qualities", (0, 50), "must be at least 1 and below 101"),
    ],
)
def test_jpegs_that_there_are_not(field, value, words):
    found = config("rescaling_x2", "jpeg-smoke")
    setattr(found.loss, field, value)
    with pytest.raises(UserError, match=re.escape(words)):
        recipe(found)


def test_rescaling_by_two_has_one_level():
    for variant, share in ("hcflow", 0), ("jpeg", 0.75), ("jpeg-tiny", 0.75):
        found = recipe(config("rescaling_x2", variant))
        assert (found.model.scale, found.loss.jpeg_share) == (2, share)
        assert found.loss == recipe(config("rescaling_x4", variant)).loss


def test_fields_of_the_model_may_differ_from_level_to_level():
    found = config("sr_x4", "smoke")
    found.model.features = (4, 6)
    found.model.blocks = ((1, 1), (1, 2))
    found.lock()
    assert recipe(found).model.per_level("features") == (4, 6)
    with found.unlocked():
        found.model.features = "wide"
    with pytest.raises(UserError, match="features"):
        configuration.parse(found)


def test_functions_are_no_part_of_a_config():
    """It is kept as JSON, from which they could not be made again."""
    found = config("sr_x4", "smoke")
    assert "step" not in found.model and "model.step=" not in configuration.help_text()
    assert "step" not in configuration.as_json(recipe(found))["model"]
    found.model.step = bent
    with pytest.raises(UserError, match="model.step is a function, which no config keeps"):
        recipe(found)
