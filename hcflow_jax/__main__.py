"""`python -m hcflow_jax` is `hcflow`."""

import sys

from hcflow_jax.cli import main

sys.exit(main())
