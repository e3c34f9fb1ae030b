"""Training data: pairs of HR and LR images by index, and batches of their patches."""

from hcflow_jax.data.folder import FolderSource
from hcflow_jax.data.opening import open_source
from hcflow_jax.data.prepared import BuiltSource, TfdsSource
from hcflow_jax.data.source import CACHE_BYTES, SCALES, Source

__all__ = [
    "CACHE_BYTES",
    "SCALES",
    "BuiltSource",
    "FolderSource",
    "Source",
    "TfdsSource",
    "open_source",
]
