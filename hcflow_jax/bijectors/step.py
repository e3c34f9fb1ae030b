"""The flow step, and a level's sequence of them."""

from collections.abc import Mapping, Sequence

from hcflow_jax.bijectors.base import Bijector, Chain
from hcflow_jax.bijectors.coupling import Coupling
from hcflow_jax.bijectors.linear import ActNorm, InvertibleConv1x1
from hcflow_jax.bijectors.repeat import Repeat


def flow_step(coupling: Coupling, permute: bool = True) -> Chain:
    """coupling ∘ 1×1 convolution ∘ ActNorm; without the convolution when `permute` is False.

    params {"actnorm", "permute", "affine"}. (Glow, figure 2a; HCFlow, figure 3.)
    """
    parts: list[tuple[str, Bijector]] = [("actnorm", ActNorm(coupling.channels))]
    if permute:
        parts.append(("permute", InvertibleConv1x1(coupling.channels)))
    return Chain((*parts, ("affine", coupling)))


def alternate(
    cycle: Mapping[str, Bijector], times: int, remat: bool = False, reversible: bool = False
) -> Chain:
    """A chain of `times` bijectors: those of `cycle`, over and over.

    The whole cycles are one `Repeat`, with its `remat` and `reversible`: params["turns"][name]
    stacks the parameters of that name on a leading axis. An incomplete last cycle is
    params["rest"]. Either is absent where it would be empty.
    """
    cycles, remainder = divmod(times, len(cycle))
    named = tuple(cycle.items())
    parts: list[tuple[str, Bijector]] = []
    if cycles:
        parts.append(("turns", Repeat(Chain(named), cycles, remat, reversible)))
    if remainder:
        parts.append(("rest", Chain(named[:remainder])))
    return Chain(tuple(parts))


def locate(index: int, cycle: Sequence[str], times: int) -> tuple[tuple[str, str], int | None]:
    """(path in the params of `alternate`, index on their leading axis or None) of number `index`.

    `cycle` are the names of its bijectors, `times` is their number.
    """
    number, j = divmod(index, len(cycle))
    if number < times // len(cycle):
        return ("turns", cycle[j]), number
    return ("rest", cycle[j]), None
