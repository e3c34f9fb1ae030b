"""Published networks at random weights, for experiments that need no trained ones."""


def network(name, variant="hcflow", **changes):
    """(config, model, float32 parameters) of a recipe, `changes` of its architecture applied.

    The parameters are those of `tests.support.randomized`: no map is the identity.
    """
    import jax
    import jax.numpy as jnp

    from hcflow_jax import build_model
    from hcflow_jax.training import recipes
    from tests.support import randomized

    config = recipes.load(f"{name}:{variant}").unlock()
    config.model.update(changes)
    model = build_model(config.model)
    shapes = jax.eval_shape(model.init_params, jax.random.key(0))
    return config, model, randomized(shapes, dtype=jnp.float32)
