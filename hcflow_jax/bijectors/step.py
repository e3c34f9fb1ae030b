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
    """The bijectors of `cycle` in turn, over and over, until `times` of them stand in a row.

    Whole turns are stacked and scanned: params["turns"][name] holds those of that name on a
    leading axis; params["rest"] the unfinished turn. Either is absent where it would be empty.
    `remat` and `reversible` are those of `Repeat`.
    """
    turns, rest = divmod(times, len(cycle))
    named = tuple(cycle.items())
    whole = (("turns", Repeat(Chain(named), turns, remat, reversible)),) if turns else ()
    return Chain(whole + ((("rest", Chain(named[:rest])),) if rest else ()))


def locate(index: int, cycle: Sequence[str], times: int) -> tuple[tuple[str, str], int | None]:
    """Where `alternate` keeps bijector `index`: path in its params, and place on the stack axis.

    `cycle` are the names of its bijectors.
    """
    turn, j = divmod(index, len(cycle))
    if turn < times // len(cycle):
        return ("turns", cycle[j]), turn
    return ("rest", cycle[j]), None
