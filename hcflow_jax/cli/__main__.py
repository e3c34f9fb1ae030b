"""`python -m hcflow_jax.cli`."""

import sys

from hcflow_jax.cli.main import main

sys.exit(main())
