"""Float64 for exactness, shared compilations; on CPUs, two simulated devices that compile quickly.

JAX_PLATFORMS and XLA_FLAGS from outside are respected.
"""

import collections
import os
import subprocess
import sys
import tempfile

from tests.platforms import CHOSEN

FLAGS = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_force_host_platform_device_count=2",
)


def _known(flags):
    """Those of `flags` that this XLA knows: of any other it names all, and dies."""
    done = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"],
        env=os.environ | {"XLA_FLAGS": " ".join(flags)},
        capture_output=True,
        text=True,
    )
    return [flag for flag in flags if flag not in done.stderr]


os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS") or CHOSEN
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # children need memory of GPUs too
if "PYTEST_XDIST_WORKER" not in os.environ:  # the workers share what their parent has
    _CACHE = tempfile.TemporaryDirectory(prefix="hcflow_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE.name
    if CHOSEN == "cpu":
        os.environ["XLA_FLAGS"] = " ".join([*_known(FLAGS), os.environ.get("XLA_FLAGS", "")])

import jax  # noqa: E402
from hypothesis import settings  # noqa: E402

from hcflow_jax.cli import progress  # noqa: E402

jax.config.update("jax_enable_x64", CHOSEN != "tpu")  # they have no float64
settings.register_profile("default", deadline=None, derandomize=True, max_examples=8)
settings.load_profile("default")
progress.LONG = progress.COMPILING_AFTER = 10**6  # what is said after a time is no part of tests


def pytest_collection_modifyitems(items):
    """Files of many slow tests first: short ones are left for the end, when a worker may wait."""
    slow = collections.Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
