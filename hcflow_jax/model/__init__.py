"""The flow: its hierarchy, networks and priors."""

from hcflow_jax.model.architecture import Architecture, NetworkDtype, StepHook
from hcflow_jax.model.guard import fit_guard
from hcflow_jax.model.hcflow import Encoding, HCFlow, build_model

__all__ = [
    "Architecture",
    "Encoding",
    "HCFlow",
    "NetworkDtype",
    "StepHook",
    "build_model",
    "fit_guard",
]
