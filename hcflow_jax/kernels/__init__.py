"""How the networks' arithmetic is done; what it is, the plain formulas say.

Every kernel equals a plain formula that a test holds it to.
"""

from hcflow_jax.kernels.arithmetic import Arithmetic

__all__ = ["Arithmetic"]
