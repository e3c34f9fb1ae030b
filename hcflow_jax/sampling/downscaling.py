"""Small pictures of rescaling networks, and the search for ones that restore better."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hcflow_jax import devices
from hcflow_jax.images import jpeg, metrics
from hcflow_jax.images.resize import bicubic
from hcflow_jax.model import HCFlow
from hcflow_jax.sampling import tiling
from hcflow_jax.sampling.pictures import clamped, in_windows

RATE, LAST_RATE, MOMENTUM, SMALLEST = 1e-2, 1e-3, 0.7, 0.05
"""Of `refined`: Adam's rates, of its first step and the limit of that of its last, in values of
[0, 1]; β₁; and ε, of gradients of the sum, far under which a step is proportional to the gradient.
Of 14 such, and of 7 of Nesterov's momentum, these gave most on seven crops of 128², in 5 and in
20 steps and as PNG and JPEG alike, or nearly so."""

LUMA_WEIGHT, SMALL_WEIGHT = 6.0, 1.0
"""Of `refined`: what squared errors of restored luma, and of the small picture, weigh beside those
of the three restored channels."""


@functools.partial(jax.jit, static_argnums=0)
def _encode_lr(model, params, hr):
    return clamped(model.encode(params, hr).lr)


def _as_saved(lr, quality):
    """What a file gives back of small pictures: 8 bits, or, of a `quality`, a JPEG.

    Rounding has the gradient of the identity.
    """
    if quality is not None:
        return jpeg.compress(lr, quality, "4:4:4")
    return lr + jax.lax.stop_gradient(jnp.round(255 * lr) / 255 - lr)


def _losses(model, params, hr, lr, quality):
    """[B], what `refined` lowers."""
    latents = [
        jnp.zeros(shape, hr.dtype) for shape in model.latent_shapes((*lr.shape[:3], hr.shape[3]))
    ]
    error = model.decode(params, _as_saved(lr, quality), latents) - hr
    luma = error @ jnp.asarray(metrics.LUMA / 255, hr.dtype)
    restored = jnp.sum(error**2, (1, 2, 3)) + LUMA_WEIGHT * jnp.sum(luma**2, (1, 2))
    away = jnp.sum((lr - bicubic(hr, down=model.scale)) ** 2, (1, 2, 3))
    return restored / model.scale**2 + SMALL_WEIGHT * away


class _Search(NamedTuple):
    """Where a search is: the small pictures, Adam's state, and the best so far with its losses."""

    lr: jax.Array
    optimizer: tuple
    best: jax.Array
    losses: jax.Array


def _optimizer(steps):
    import optax

    return optax.adam(lambda i: RATE + (LAST_RATE - RATE) * i / steps, MOMENTUM, eps=SMALLEST)


@jax.jit
def _begin(lr):
    lr = jnp.clip(jnp.nan_to_num(lr), 0, 1)
    return _Search(lr, _optimizer(1).init(lr), lr, jnp.full(len(lr), jnp.inf, lr.dtype))


def _kept(search, losses):
    """`search` with the pictures that are better than the best before; NaN is not."""
    better = losses < search.losses
    best = jnp.where(better[:, None, None, None], search.lr, search.best)
    return search._replace(best=best, losses=jnp.where(better, losses, search.losses))


@functools.partial(jax.jit, static_argnums=0)
def _step(model, params, hr, search, steps, quality):
    """A step of Adam, from pictures whose losses are compared with the best."""

    def loss(lr):
        losses = _losses(model, params, hr, lr, quality)
        return jnp.sum(losses), losses

    gradient, losses = jax.grad(loss, has_aux=True)(search.lr)
    search = _kept(search, losses)
    update, state = _optimizer(steps).update(jnp.nan_to_num(gradient), search.optimizer)
    return search._replace(lr=jnp.clip(search.lr + update, 0, 1), optimizer=state)


@functools.partial(jax.jit, static_argnums=0)
def _end(model, params, hr, lr, search, quality):
    best = _kept(search, _losses(model, params, hr, search.lr, quality)).best
    return jnp.where(jnp.isfinite(lr), best, jnp.nan)


def refined(
    model: HCFlow,
    params,
    hr: jax.Array,
    lr: jax.Array,
    steps: int,
    quality: int | None = None,
    report: Callable[[], object] = lambda: None,
) -> jax.Array:
    """Small pictures near `lr` of which latents 0 restore more of `hr`.

    A flow's `encode` inverts `decode` with latents that are then dropped; without them another
    small picture does better. With x = hr, g(y) = decode(y, 0), s(y) what a file of 8 bits gives
    back of y, Y luma and b the bicubic small picture, `steps` of Adam from y = lr look for a less

      Σ|x − g(s(y))|²/scale² + 6·Σ(Y(x) − Y(g(s(y))))²/scale² + Σ|y − b|²,

    and the least found is taken, picture by picture. Only the small picture changes; restoring is
    the same. (As learned compression searches for codes: Campos, Meierhans, Djelouah, Schroers
    2019, "Content adaptive optimization for neural image compression".)

    Args:
      hr: [B, H, W, 3] in [0, 1]; lr: [B, h, w, 3], where the search begins, clamped first.
      steps: 0 and more; each costs two to three times what restoring does.
      quality: of the JPEGs, with whole chroma, as which small pictures are saved; None for PNG.
      report: called after every step; what it raises ends the search.

    Returns:
      [B, h, w, 3] in [0, 1], not rounded; NaN where `lr` is not finite.
    """
    model, search = dataclasses.replace(model, remat=True), _begin(lr)
    for _ in range(steps):
        search = _step(model, params, hr, search, steps, quality)
        search.losses.block_until_ready()
        report()
    return _end(model, params, hr, lr, search, quality)


def _in_steps(progress, refine, windows):
    """Tells `progress` of windows added, or, negative, done, where 1 + `refine` steps make one.

    A batch has told of a search of `refine` before it is done.
    """
    progress((1 + refine) * windows + (refine if windows < 0 else 0))


def downscale_all(
    model: HCFlow,
    params,
    pictures: Iterable[np.ndarray],
    tile: int = tiling.TILE,
    halo: int = tiling.HALO,
    progress=lambda count: None,
    batch: int = 1,
    refine: int = 0,
    quality: int | None = None,
) -> Iterator[np.ndarray]:
    """The model's LR image, clamped, of each picture: [H, W, 3] -> [⌈H/scale⌉, ⌈W/scale⌉, 3].

    NaN where a value is not finite. Sides that do not divide are first padded by reflection.
    Windows have `tile` pixels a side, which bounds the memory, and overlap by `halo` on each; a
    device computes `batch` of them at a time. `refine` steps of `refined`, for JPEGs of `quality`
    where one is given, follow in every window; `progress` counts them too, 1 + `refine` a window.
    """
    params, shard = devices.replicated_locally(params)
    report = functools.partial(progress, -1)
    progress = functools.partial(_in_steps, progress, refine)

    def apply(pixels, *_):
        hr = shard(pixels)
        lr = _encode_lr(model, params, hr)
        return [refined(model, params, hr, lr, refine, quality, report) if refine else lr]

    found = in_windows(
        apply,
        pictures,
        model,
        model.scale,
        (1,),
        tile,
        halo,
        progress,
        bucketed=True,
        batch=batch,
    )
    return (lr for (lr,) in found)


def downscale(
    model: HCFlow,
    params,
    hr: np.ndarray,
    tile: int = tiling.TILE,
    refine: int = 0,
    quality: int | None = None,
) -> np.ndarray:
    """`downscale_all` of one picture."""
    return next(downscale_all(model, params, [hr], tile, refine=refine, quality=quality))
