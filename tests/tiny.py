"""The smallest models that have every part, as files for the command line."""

from hcflow_jax import build_model

SIZES = {
    "steps": (2, 2),
    "conditional_steps": (1, 1),
    "hidden": 4,
    "conditional_hidden": 4,
    "blocks": (1, 1),
    "features": 4,
    "growth": 2,
}
FIELDS = {
    "sr": SIZES | {"task": "sr"},
    "rescaling": SIZES
    | {
        "task": "rescaling",
        "squeeze": "haar",
        "coupling": "shift",
        "permutation": "none",
        "net": "dense_block",
        "steps": (3, 3),
    },
}
ONE_LEVEL = {
    task: build_model(fields | {"steps": (fields["steps"][0],), "conditional_steps": (1,)})
    for task, fields in FIELDS.items()
}
SR, RESCALING = (build_model(FIELDS[task]) for task in ("sr", "rescaling"))
