"""Arithmetic, communication and size counted in traced programs.

Models with `kernels="plain"` convolve directly, whichever platform they are traced on.
"""

import math


def flops(jaxpr):
    """Of the convolutions and matrix products of a jaxpr; loops count every turn."""
    return _total(jaxpr, _flops_of)


def reduced_bytes(jaxpr):
    """Bytes that a device puts into sums over all devices."""
    return _total(jaxpr, _reduced_bytes_of)


def equations(jaxpr, names=None):
    """What is to be compiled: equations, or those of the primitives `names` alone.

    The body of a loop counts once, or as often as it is unrolled; that of a function at every call.
    """
    return sum(_equations_of(equation, names) for equation in jaxpr.eqns)


def _equations_of(equation, names):
    params = equation.params
    inside = sum(equations(sub, names) for sub in inner(equation))
    turns = min(params.get("unroll", 1), params.get("length", 1)) or 1
    return (names is None or equation.primitive.name in names) + turns * inside


def _flops_of(equation):
    name, params = equation.primitive.name, equation.params
    if name == "conv_general_dilated":
        kernel, spec = equation.invars[1].aval.shape, params["dimension_numbers"].rhs_spec
        return 2 * equation.outvars[0].aval.size * math.prod(kernel) // kernel[spec[0]]
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        depth = math.prod(equation.invars[0].aval.shape[i] for i in contracted)
        return 2 * equation.outvars[0].aval.size * depth
    return 0


def _reduced_bytes_of(equation):
    if not equation.primitive.name.startswith("psum"):
        return 0
    return sum(x.aval.size * x.aval.dtype.itemsize for x in equation.invars)


def _total(jaxpr, cost):
    return sum(cost(equation) + _inside(equation, cost) for equation in jaxpr.eqns)


def inner(equation):
    """The jaxprs that an equation runs."""
    return [
        getattr(sub, "jaxpr", sub)
        for value in equation.params.values()
        for sub in (value if isinstance(value, tuple | list) else (value,))
        if hasattr(getattr(sub, "jaxpr", sub), "eqns")
    ]


def _inside(equation, cost):
    name, params = equation.primitive.name, equation.params
    costs = [_total(sub, cost) for sub in inner(equation)]
    if name == "cond":
        return max(costs, default=0)
    return params.get("length", 1) * sum(costs) if name == "scan" else sum(costs)
