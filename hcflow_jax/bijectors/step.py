"""The flow step, and a level's sequence of them."""

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
    cycle: tuple[Bijector, ...], times: int, remat: bool = False, reversible: bool = False
) -> Chain:
    """cycle[0], cycle[1], …, cycle[0], … until `times` bijectors stand in a row.

    Whole turns of the cycle are stacked and scanned: params["turns"][j] holds bijectors j,
    j + n, j + 2n, … of a cycle of n on a leading axis; params["rest"][j] the unfinished turn.
    Either is absent where it would be empty. `remat` and `reversible` are those of `Repeat`.
    """
    turns, rest = divmod(times, len(cycle))
    named = tuple((str(j), bijector) for j, bijector in enumerate(cycle))
    whole = (("turns", Repeat(Chain(named), turns, remat, reversible)),) if turns else ()
    return Chain(whole + ((("rest", Chain(named[:rest])),) if rest else ()))


def locate(index: int, cycle: int, times: int) -> tuple[tuple[str, str], int | None]:
    """Where `alternate` keeps bijector `index`: path in its params, and place on the stack axis."""
    turn, j = divmod(index, cycle)
    if turn < times // cycle:
        return ("turns", str(j)), turn
    return ("rest", str(j)), None
