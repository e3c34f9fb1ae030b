"""HCFlow in JAX: super-resolution and rescaling with one invertible network."""

import importlib

_HOMES = {
    "Encoding": "model",
    "HCFlow": "model",
    "build_model": "model",
    "from_torch": "checkpoints",
    "to_published": "checkpoints",
}
__all__ = [*_HOMES]


def __getattr__(name):
    """Imports what is asked for: `hcflow --help` need not wait for JAX."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
