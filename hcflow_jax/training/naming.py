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
    near = _near(name, known)
    return f"{what}; did you mean {' or '.join(near)}?" if near else what


def _near(name, known):
    """Those of `known` that `name` may mean: in its section, else in another, else as a whole."""
    section, _, last = name.rpartition(".")
    lasts = {field: field.rpartition(".")[2] for field in known}
    own = [lasts[field] for field in known if section and field.startswith(f"{section}.")]
    if found := nearest(last, own):
        return [f"{section}.{found}"]
    found = last if section else nearest(last, lasts.values())
    elsewhere = [field for field in known if lasts[field] == found]
    return elsewhere or [*filter(None, [None if own else nearest(name, known)])]
