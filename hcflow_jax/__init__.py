"""HCFlow in JAX: super-resolution and rescaling with one invertible network.

The public names are those of `__all__`; everything else may move.
"""

import importlib

__version__ = "0.2.0"

_HOMES = {
    "Encoding": "model",
    "HCFlow": "model",
    "UserError": "errors",
    "build_model": "model",
    "fit_guard": "model",
    "from_torch": "checkpoints",
    "load": "sampling",
    "to_published": "checkpoints",
}
_MODULES = ("bijectors", "losses", "sampling")
__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name):
    """Imports what is asked for: `hcflow --help` need not wait for JAX."""
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
