"""Dataclass fields with a help text, a check, and whether they may change when resuming."""

import dataclasses
import math
from typing import Any

from hcflow_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a field means and which values are valid; a tuple is checked value by value.

    Attributes:
      help: one line for `--help`.
      choices: the valid values; empty for other checks.
      least, above, below: bounds of numbers: value ≥ least, > above, < below.
      free: whether it may change when a training is resumed.
    """

    help: str
    choices: tuple = ()
    least: float | None = None
    above: float | None = None
    below: float | None = None
    free: bool = False

    def trouble(self, value: Any) -> str | None:
        """What is wrong with `value`, as "must be …", or None."""
        if self.choices:
            known = ", ".join(map(str, self.choices))
            return None if value in self.choices else f"must be one of {known}"
        bounds = {"at least": self.least, "above": self.above, "below": self.below}
        bounds = {words: bound for words, bound in bounds.items() if bound is not None}
        if bounds and not all(map(self._within, value if isinstance(value, tuple) else (value,))):
            return f"must be {' and '.join(f'{words} {b:g}' for words, b in bounds.items())}"
        return None

    def _within(self, number):
        return (
            isinstance(number, int | float)
            and math.isfinite(number)
            and (self.least is None or number >= self.least)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )


def field(default: Any, help: str, **rule) -> Any:
    """A dataclass field with a `Rule` of the given attributes in its metadata."""
    return dataclasses.field(default=default, metadata={"rule": Rule(help, **rule)})


def rules(section) -> dict[str, Rule]:
    """{field: rule} of a dataclass or an instance of one, where a field has a rule."""
    found = {f.name: f.metadata.get("rule") for f in dataclasses.fields(section)}
    return {name: rule for name, rule in found.items() if rule}


def values(section) -> dict[str, Any]:
    """{field: value} of an instance, of the fields with a rule."""
    return {name: getattr(section, name) for name in rules(section)}


def check(section, prefix: str = "") -> None:
    """UserError naming the first field with an invalid value; `prefix` is its section, "name."."""
    for name, rule in rules(section).items():
        value = getattr(section, name)
        if trouble := rule.trouble(value):
            remedy = f"; set --config.{prefix}{name}" if prefix else ""
            raise UserError(f"{prefix}{name} {trouble}, got {value!r}{remedy}")
