"""Reading checkpoints of earlier versions.

They numbered the alternating flow steps, and kept statistics of a discriminator.
"""

from pathlib import Path

TODAY = {"0": "affine", "1": "shift"}
"""{earlier name of a step: today's}."""

EARLIER = {new: old for old, new in TODAY.items()}
"""{today's name of a step: the earlier one}."""


def has_earlier_names(item: Path) -> bool:
    """Whether the steps of the parameters that orbax wrote to the folder `item` are numbered."""
    import orbax.checkpoint as ocp

    return _steps(ocp.StandardCheckpointHandler().metadata(item).tree) & TODAY.keys() != set()


def statistics(item: Path) -> dict:
    """Shapes of a discriminator's batch statistics in the folder `item` of a training; or {}."""
    import orbax.checkpoint as ocp

    tree = ocp.StandardCheckpointHandler().metadata(item).tree
    return (tree.get("discriminator") or {}).get("batch_stats") or {}


def renamed(params: dict, names: dict[str, str]) -> dict:
    """A tree of parameters, or of their shapes, with its steps renamed by TODAY or EARLIER."""
    return {
        key: {names[step]: tree for step, tree in value.items()}
        if key in ("turns", "rest")
        else renamed(value, names)
        if isinstance(value, dict)
        else value
        for key, value in params.items()
    }


def _steps(params):
    """The names of all steps in a tree."""
    found = set()
    for key, value in params.items():
        if key in ("turns", "rest"):
            found |= value.keys()
        elif isinstance(value, dict):
            found |= _steps(value)
    return found
