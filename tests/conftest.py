"""Float64 for exactness; two simulated devices; quick compilation, shared by all."""

import os
import tempfile

if "PYTEST_XDIST_WORKER" not in os.environ:  # the workers share that of their parent
    _CACHE = tempfile.TemporaryDirectory(prefix="hcflow_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE.name
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_force_host_platform_device_count=2",
}

import jax  # noqa: E402
from hypothesis import settings  # noqa: E402

jax.config.update("jax_enable_x64", True)
settings.register_profile("default", deadline=None, derandomize=True, max_examples=8)
settings.load_profile("default")
