"""What a training minimises. Images [B, H, W, 3] in [0, 1]; the LR images are 8-bit ones."""

import dataclasses

import jax
import jax.numpy as jnp

from hcflow_jax.evaluation import lpips
from hcflow_jax.images.resize import bicubic
from hcflow_jax.training import losses

WEIGHTS = ("restored", "luma", "small")
"""Fields of a recipe that weigh the terms of rescaling and may change within a run."""

LUMA = (65.481 / 219, 128.553 / 219, 24.966 / 219)

BEYOND = 30
"""Weight, in `bounds`, of what is beyond the range of pictures."""


def _without_latents(model, params, lr):
    latents = [jnp.zeros(shape, lr.dtype) for shape in model.latent_shapes(lr.shape)]
    return model.decode(params, lr, latents)


def super_resolution(recipe, weights, judge, params, hr, lr, odd, key):
    """pixel·mean|decode(lr, 0) − hr| + nll·(−log2 p(hr + U(−½, ½)/q, lr) per pixel)
    + perceptual·judge(decode(lr, τ·e), hr) + strange·bounds(odd), e ~ N(0, 1), τ the recipe's
    temperature, + checkerboard·checkerboard(both decoded images)."""
    del weights
    total, terms, decoded = 0.0, {}, []
    if recipe.pixel:
        image = _without_latents(recipe.model, params, lr)
        terms["pixel"] = jnp.mean(jnp.abs(image - hr))
        total += recipe.pixel * terms["pixel"]
        decoded.append(image)
    if recipe.nll:
        noise = (jax.random.uniform(key, hr.shape) - 0.5) / recipe.quant
        found = losses.likelihood(recipe.model, params, hr + noise, lr, recipe.quant)
        terms["nll"] = losses.nll(found)
        terms["bits"] = losses.bits_per_dim(found)
        total += recipe.nll * terms["nll"]
    if recipe.perceptual:
        key = jax.random.fold_in(key, 1)
        latents = recipe.model.draw_latents(key, lr, recipe.temperature)
        image = recipe.model.decode(params, lr, latents)
        terms["perceptual"] = jnp.mean(judge(image, hr))
        total += recipe.perceptual * terms["perceptual"]
        decoded.append(image)
    if recipe.checkerboard:
        found = [checkerboard(image, hr, recipe.model.scale) for image in decoded]
        terms["checkerboard"] = sum(found)
        total += recipe.checkerboard * terms["checkerboard"]
    if recipe.strange:
        terms["strange"] = bounds(recipe.model, params, odd, jax.random.fold_in(key, 3))
        total += recipe.strange * terms["strange"]
    return total, terms


def checkerboard(image, hr, scale, cells=8):
    """mean |m|: the pattern that an error repeats in every LR pixel of a block of `cells`².

    m is the mean of image − hr over the block at one of the scale² places in an LR pixel, less the
    mean over all of them. An LR image smaller than a block is one. (Odena et al. 2016,
    "Deconvolution and checkerboard artifacts".)
    """
    batch, height, width, channels = hr.shape
    cells = min(cells, height // scale, width // scale)
    rows, columns = height // (scale * cells), width // (scale * cells)
    split = (batch, rows, cells, scale, columns, cells, scale, channels)
    error = (image - hr)[:, : rows * scale * cells, : columns * scale * cells].reshape(split)
    places = jnp.mean(error, (2, 5))
    return jnp.mean(jnp.abs(places - jnp.mean(places, (2, 4), keepdims=True)))


def bounds(model, params, lr, key):
    """BEYOND·mean ln(1 + (|x − ½| − 0.55)₊) + mean |down(x in [0, 1]) − lr|.

    x = decode(lr, τ·e), τ² ~ U(0, 1). Of LR images `lr` without HR ones: what is beyond
    [−0.05, 1.05], and what LR image remains.
    """
    keys = jax.random.split(key)
    temperatures = jnp.sqrt(jax.random.uniform(keys[0], (len(lr), 1, 1, 1)))
    latents = model.draw_latents(keys[1], lr, 1.0)
    image = model.decode(params, lr, [temperatures * latent for latent in latents])
    beyond = jnp.mean(jnp.log1p(jax.nn.relu(jnp.abs(image - 0.5) - 0.55)))
    small = bicubic(jnp.clip(image, 0, 1), down=model.scale)
    return BEYOND * beyond + jnp.mean(jnp.abs(small - lr))


def _saved(recipe, small, key):
    """Small pictures as 8-bit ones, or, the recipe's share `jpeg` of them, as JPEGs."""
    if not recipe.jpeg:
        return losses.quantize(small)
    keys, count = jax.random.split(key, 3), [len(small)]
    qualities = jax.random.randint(keys[0], count, *recipe.qualities)
    qualities *= jax.random.bernoulli(keys[1], recipe.jpeg, count)
    return losses.as_jpegs(small, qualities, jax.random.bernoulli(keys[2], shape=count))


def rescaling(recipe, weights, judge, params, hr, lr, odd, key):
    """restored·mean|x − hr| + luma·mean|Y(x) − Y(hr)| + small·mean (LR − lr)² + latents·mean e².

    x = decode(LR', 0), LR' the LR image LR as it was saved, Y of BT.601, e the latents.
    """
    del judge, odd
    model = recipe.model
    encoding = model.encode(params, hr)
    error = _without_latents(model, params, _saved(recipe, encoding.lr, key)) - hr
    terms = {
        "restored": jnp.mean(jnp.abs(error)),
        "luma": jnp.mean(jnp.abs(error @ jnp.array(LUMA))),
        "small": jnp.mean(jnp.square(encoding.lr - lr)),
    }
    total = sum(weights[name] * term for name, term in terms.items())
    if recipe.latents:  # without it, half of encoding is not computed
        count = sum(latent.size for latent in encoding.latents)
        squares = sum(jnp.sum(jnp.square(latent)) for latent in encoding.latents)
        terms["latents"] = squares / count
        total += recipe.latents * terms["latents"]
    return total, terms


def judge_of(recipe):
    """LPIPS with VGG16, where the recipe's objective has it: an argument, no part of a program."""
    if not recipe.perceptual:
        return None
    return dataclasses.replace(lpips.load("vgg16"), precision=recipe.model.precision)


def total(recipe, weights, judge, params, hr, lr, odd, key):
    """(the objective of the recipe's task, its terms).

    `weights` stand for those of the recipe; `odd` are LR images alone, none but for `strange`.
    """
    task = super_resolution if recipe.model.task == "sr" else rescaling
    return task(recipe, weights, judge, params, hr, lr, odd, key)
