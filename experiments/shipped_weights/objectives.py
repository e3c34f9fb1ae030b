"""What a training minimises. Images [B, H, W, 3] in [0, 1]; the LR images are 8-bit ones."""

import jax
import jax.numpy as jnp

from hcflow_jax.training import losses


def _without_latents(model, params, lr):
    latents = [jnp.zeros(shape, lr.dtype) for shape in model.latent_shapes(lr.shape)]
    return model.decode(params, lr, latents)


def super_resolution(recipe, params, hr, lr, key):
    """pixel·mean|decode(lr, 0) − hr| + nll·(−log2 p(hr + U(−½, ½)/q, lr) per pixel)."""
    total, terms = 0.0, {}
    if recipe.pixel:
        image = _without_latents(recipe.model, params, lr)
        terms["pixel"] = jnp.mean(jnp.abs(image - hr))
        total += recipe.pixel * terms["pixel"]
    if recipe.nll:
        noise = (jax.random.uniform(key, hr.shape) - 0.5) / recipe.quant
        found = losses.likelihood(recipe.model, params, hr + noise, lr, recipe.quant)
        terms["nll"] = losses.nll(found)
        terms["bits"] = losses.bits_per_dim(found)
        total += recipe.nll * terms["nll"]
    return total, terms


def rescaling(recipe, params, hr, lr, key):
    """restored·mean|decode(Q(LR), 0) − hr| + small·mean (LR − lr)² + latents·mean latents²."""
    del key
    model = recipe.model
    encoding = model.encode(params, hr)
    image = _without_latents(model, params, losses.quantize(encoding.lr))
    count = sum(latent.size for latent in encoding.latents)
    terms = {
        "restored": jnp.mean(jnp.abs(image - hr)),
        "small": jnp.mean(jnp.square(encoding.lr - lr)),
        "latents": sum(jnp.sum(jnp.square(latent)) for latent in encoding.latents) / count,
    }
    total = sum(getattr(recipe, name) * term for name, term in terms.items())
    return total, terms


def total(recipe, params, hr, lr, key):
    """(the objective of the recipe's task, its terms)."""
    task = super_resolution if recipe.model.task == "sr" else rescaling
    return task(recipe, params, hr, lr, key)
