"""Small pictures of rescaling networks, and the search for ones that restore better."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from hcflow_jax import devices
from hcflow_jax.images import jpeg, metrics
from hcflow_jax.images.resize import bicubic
from hcflow_jax.model import HCFlow
from hcflow_jax.sampling import tiling
from hcflow_jax.sampling.pictures import clamped, in_windows

RATE, LAST_RATE, MOMENTUM = 6e-3, 6e-4, 0.7
"""Of `refined`: the rate of Adam's first step and the limit of that of its last, of values in
[0, 1], and β₁. Of five rates, four β₁ and three optimisers these gave most in five steps."""

LUMA_WEIGHT, SMALL_WEIGHT = 6.0, 1.0
"""Of `refined`: what squared errors of restored luma, and of the small picture, weigh beside those
of the three restored channels."""


@functools.partial(jax.jit, static_argnums=0)
def _encode_lr(model, params, hr):
    return clamped(model.encode(params, hr).lr)


@functools.partial(jax.jit, static_argnums=0)
def _refine_lr(model, params, hr, steps, quality):
    return clamped(refined(model, params, hr, model.encode(params, hr).lr, steps, quality))


def _as_saved(lr, quality):
    """What a file gives back of small pictures, with the gradient of the identity where it rounds:
    8 bits, or, of a `quality`, a JPEG with whole chroma."""
    if quality is not None:
        return jpeg.compress(lr, quality, "4:4:4")
    return lr + jax.lax.stop_gradient(jnp.round(255 * jnp.clip(lr, 0, 1)) / 255 - lr)


def refined(
    model: HCFlow,
    params,
    hr: jax.Array,
    lr: jax.Array,
    steps: jax.Array | int,
    quality: jax.Array | int | None = None,
) -> jax.Array:
    """Small pictures near `lr` of which latents 0 restore more of `hr`.

    A flow's `encode` inverts `decode` with latents that are then dropped; without them another
    small picture does better. With x = hr, g(y) = decode(y, 0), s(y) what a file gives back of y,
    Y luma and b the bicubic small picture, `steps` of Adam from y = lr lower

      Σ|x − g(s(y))|²/scale² + 6·Σ(Y(x) − Y(g(s(y))))²/scale² + Σ|y − b|².

    Only the small picture changes: `decode`, and so
    whoever restores, is the same. (The iterative inference of learned compression: Campos,
    Meierhans, Djelouah, Schroers 2019, "Content adaptive optimization for neural image
    compression", section 3, of an image that is seen in place of a code.)

    Args:
      hr: [B, H, W, 3] in [0, 1]; lr: [B, h, w, 3], where the search begins, clamped first.
      steps: 0 and more; each costs about three times what restoring does.
      quality: of the JPEGs, with whole chroma, as which small pictures are saved; None for PNG.

    Returns:
      [B, h, w, 3] in [0, 1], not rounded; NaN where `lr` is not finite.
    """
    import optax

    model = dataclasses.replace(model, remat=True)
    like, luma = bicubic(hr, down=model.scale), jnp.asarray(metrics.LUMA / 255, hr.dtype)
    latents = [
        jnp.zeros(shape, hr.dtype) for shape in model.latent_shapes((*lr.shape[:3], hr.shape[3]))
    ]

    def loss(y):
        error = model.decode(params, _as_saved(y, quality), latents) - hr
        restored = jnp.sum(error**2) + LUMA_WEIGHT * jnp.sum((error @ luma) ** 2)
        return restored / model.scale**2 + SMALL_WEIGHT * jnp.sum((y - like) ** 2)

    optimizer = optax.adam(lambda i: RATE + (LAST_RATE - RATE) * i / steps, MOMENTUM)

    def step(_, carry):
        y, state = carry
        update, state = optimizer.update(jnp.nan_to_num(jax.grad(loss)(y)), state)
        return jnp.clip(y + update, 0, 1), state

    y = jnp.clip(jnp.nan_to_num(lr), 0, 1)
    y, _ = jax.lax.fori_loop(0, steps, step, (y, optimizer.init(y)))
    return jnp.where(jnp.isfinite(lr), y, jnp.nan)


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
    where one is given, follow in every window.
    """
    params, shard = devices.replicated_locally(params)

    def apply(pixels, *_):
        if not refine:
            return [_encode_lr(model, params, shard(pixels))]
        return [_refine_lr(model, params, shard(pixels), refine, quality)]

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
