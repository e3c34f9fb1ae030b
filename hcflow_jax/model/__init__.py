"""The flow: its hierarchy, networks and priors."""

from hcflow_jax.model.hcflow import EXECUTION, Encoding, HCFlow, build_model

__all__ = ["EXECUTION", "Encoding", "HCFlow", "build_model"]
