"""Reading what earlier versions wrote, which numbered the flow steps that take turns."""

from pathlib import Path

TODAY = {"0": "affine", "1": "shift"}
EARLIER = {new: old for old, new in TODAY.items()}


def bears_earlier_names(item: Path) -> bool:
    """Whether the parameters that orbax wrote to the folder `item` number their steps."""
    import orbax.checkpoint as ocp

    return _steps(ocp.StandardCheckpointHandler().metadata(item).tree) & TODAY.keys() != set()


def renamed(params: dict, names: dict[str, str]) -> dict:
    """A tree of parameters, or of their shapes, with its steps renamed: TODAY or EARLIER."""
    return {
        key: {names[step]: tree for step, tree in value.items()}
        if key in ("turns", "rest")
        else renamed(value, names)
        if isinstance(value, dict)
        else value
        for key, value in params.items()
    }


def _steps(params):
    """Names of the steps anywhere in a tree."""
    found = set()
    for key, value in params.items():
        if key in ("turns", "rest"):
            found |= value.keys()
        elif isinstance(value, dict):
            found |= _steps(value)
    return found
