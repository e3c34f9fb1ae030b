"""The `hcflow` command."""

from hcflow_jax.cli.main import main

__all__ = ["main"]
