"""What a config says about its training, as the recipe of an iteration."""

import functools

from hcflow_jax.model import HCFlow
from hcflow_jax.training import discriminators, objectives, parallel, schedules


def make_schedule(train, base: float) -> schedules.Schedule:
    """The rate of iteration i: train.schedule from `base`, its fractions counted in steps."""

    def at(fractions):
        return [round(f * train.steps) for f in fractions]

    restarts, weights = at(train.restarts), train.restart_weights
    if train.schedule == "cosine":
        return schedules.cosine(base, at(train.periods), restarts, weights, train.least_rate)
    return schedules.multistep(base, at(train.milestones), train.gamma, restarts, weights)


def make_recipe(config, model: HCFlow) -> objectives.Recipe:
    """What `config.loss`, `config.train` and `config.discriminator` say."""
    train, loss = config.train, config.loss
    rate = make_schedule(train, train.learning_rate)
    common = {"model": model, "rate": rate, "accumulate": train.accumulate, "ema": train.ema}
    if model.task == "rescaling":
        return objectives.Recipe(**common, lr=loss.lr, latents=loss.latents, hr=loss.hr)
    names = ("quant", "nll", "pixel", "perceptual", "gan", "gan_type", "temperature")
    common |= {name: loss[name] for name in (*names, "pixel_norm", "perceptual_norm")}
    if loss.gan:
        chosen = config.discriminator
        kinds = {
            "vgg": functools.partial(discriminators.VGGDiscriminator, features=chosen.features),
            "patchgan": functools.partial(
                discriminators.PatchGAN, features=chosen.features, layers=chosen.layers
            ),
        }
        common["discriminator"] = kinds[chosen.kind](axis_name=parallel.AXIS)
        common["discriminator_rate"] = make_schedule(train, chosen.learning_rate)
    return objectives.Recipe(**common)
