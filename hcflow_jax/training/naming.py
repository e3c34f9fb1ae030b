"""Names of a config's fields: what they were called, and what a wrong one was meant to be."""

from collections.abc import Sequence

from hcflow_jax.errors import nearest

EARLIER = {
    f"loss.{name}": f"loss.{name}_weight"
    for name in ("nll", "pixel", "perceptual", "gan", "lr", "latents", "hr")
}
"""{name of a field in earlier versions: its name today}."""


def unknown(name: str, known: Sequence[str]) -> str:
    """What to say of a field that a config has not.

    Args:
      name: "section.field", or "field" alone.
      known: "section.field" of all fields that configs have.
    """
    what = f"the config has no field {name}"
    if name in EARLIER:
        return f"{what}, it is called {EARLIER[name]} now"
    if name in known:
        return f"{what}, which is one of the other task"
    alone = [field.rpartition(".")[2] for field in known]
    near = [field for field in known if field.endswith(f".{name}")]
    near = near or [nearest(name, known) or nearest(name, alone)]
    return f"{what}; did you mean {' or '.join(near)}?" if near[0] else what
