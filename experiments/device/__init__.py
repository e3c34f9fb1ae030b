"""The measurements of `accelerator.py`, one module per kind."""
