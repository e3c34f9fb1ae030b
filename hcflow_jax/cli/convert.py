"""`hcflow convert`."""

from hcflow_jax.errors import UserError, shown


def add_command(commands) -> None:
    """Adds the parser of the command to `commands`."""
    command = commands.add_parser(
        "convert",
        help="turn published weights into a checkpoint, or back",
        description="weights.pth or weights.npz -> checkpoint directory; checkpoint -> weights.npz",
    )
    command.set_defaults(run=_convert)
    command.add_argument("input", metavar="IN", help=".pth, .npz, or a checkpoint directory")
    command.add_argument("-o", "--output", metavar="OUT", required=True, help="DIR, or a .npz")


def _convert(args):
    import numpy as np
    from absl import logging

    from hcflow_jax import checkpoints, images, paths
    from hcflow_jax.checkpoints import published

    logging.set_verbosity(logging.ERROR)  # orbax warns where all is well
    source, target = paths.reached(args.input), paths.reached(args.output)
    if paths.is_taken(target):
        raise UserError(f"{target} exists; name a new one")
    if target.suffix.lower() in (".pth", ".pt"):
        raise UserError(f"{target}: .pth is only read; name a .npz or a directory")
    if target.suffix.lower() == ".npz":
        paths.local(target, "name a local .npz and copy it there")
    if not (paths.is_remote(target) or target.absolute().parent.is_dir()):
        raise UserError(f"{target.parent} is not a folder; create it to write {target}")
    model, params = checkpoints.load_model(source)
    count = published.parameter_count(model)
    print(f"{shown(source)}: {model.task} ×{model.scale}, {count:,} parameters")
    if target.suffix.lower() == ".npz":
        arrays = published.to_published(model, params)
        images.write_beside(target, lambda file: np.savez(file, **arrays))
    else:
        checkpoints.save_model(target, model, params)
    print(f"{shown(target)} written")
