"""`hcflow downscale` and `restore`."""

import contextlib
import dataclasses
import functools
import itertools

from hcflow_jax.cli import batch, heaps, progress
from hcflow_jax.cli.arguments import (
    add_picture_command,
    add_refine,
    add_sampling,
    whole_number,
)
from hcflow_jax.errors import UserError, shown


def add_commands(commands) -> None:
    """Adds the parsers of both commands to `commands`."""
    downscale = add_picture_command(
        commands,
        "downscale",
        _downscale,
        "shrink pictures to a quarter, or half, to be restored later",
        "lr",
        formats=False,
    )
    downscale.add_argument(
        "--scale",
        type=int,
        choices=(2, 4, 8, 16),
        help="how many times smaller; 2 and 4 ship, and 2 is restored better (default: the "
        "checkpoint's, else 4)",
    )
    downscale.add_argument(
        "--format",
        choices=("png", "jpg"),
        help="of small pictures, where -o is no file: png, of which most is restored, or jpg, made "
        "by weights of its own, of which more is restored than of PNGs that are saved as JPEGs "
        "later (default: png)",
    )
    downscale.add_argument(
        "--quality",
        type=whole_number(1, 100),
        metavar="Q",
        help="of small JPEGs, 1 to 100; the weights are made for 50 to 95 (default: 90)",
    )
    add_refine(
        downscale,
        "each takes two to three times as long as restoring; default: 0, and 5 bring most of what "
        "20 do",
    )
    restore = add_picture_command(
        commands,
        "restore",
        _restore,
        "bring pictures shrunk by `downscale` back",
        "restored",
    )
    add_sampling(restore, 0.0, "the most faithful")
    restore.add_argument(
        "--force",
        action="store_true",
        help="do not warn of pictures that `downscale` did not write",
    )


def _downscale(args):
    heaps.settle()
    from hcflow_jax import images, sampling
    from hcflow_jax.cli import jobs
    from hcflow_jax.images import small, transparency
    from hcflow_jax.sampling import memory

    plan = batch.plan(args, "downscale", "lr")
    kinds = {_kind_of_result(target) for _, (target,) in plan}
    if not plan:
        return 0
    (kind,) = kinds
    if kind == small.JPEG and args.quality is None:
        args.quality = small.QUALITY
    model, params = _load(args, kind, args.scale)

    def convert(jobs, report):
        inputs = (job.picture.pixels for job, _ in jobs)
        return sampling.downscale_all(
            model,
            params,
            inputs,
            work.tile,
            progress=report,
            batch=work.batch,
            refine=args.refine,
            quality=args.quality if kind == small.JPEG else None,
        )

    def write(source, job, target, lr):
        import numpy as np

        if not np.all(np.isfinite(lr)):
            raise UserError(
                f"{source}: the network's result is not finite; use other weights by --checkpoint"
            )
        picture = job.picture
        info = small.texts(picture, model.scale, kind if args.checkpoint is None else None)
        alpha = transparency.resized(picture.alpha, lr.shape[:2], model.scale)
        about = batch.about(args, "downscale", picture, target, info)
        batch.write(target, lr, alpha, **about)

    def size(source, hr_size):
        lr_size = tuple(-(-side // model.scale) for side in hr_size)
        return lr_size, lr_size

    def held(source, lr_size, _):
        if images.is_read_in_parts(source.file, args.max_pixels):
            return memory.of_results(lr_size, model.scale, 3)  # on disk, the large ones
        return memory.of_reading([model.scale * side for side in lr_size])

    work = jobs.announce(args, plan, model, size, held, args.refine)
    read = jobs.reader(
        args,
        lambda source, picture: size(source, picture.size)[1],
        grey=lambda picture: False,
    )
    steps, unit = (1 + args.refine, "step") if args.refine else (1, "tile")
    return batch.run(plan, read, convert, write, steps * work.tiles, unit)


def _kind_of_result(target):
    """Which of the shipped weights make the small picture of that name; UserError of others."""
    from hcflow_jax import images
    from hcflow_jax.images import small

    suffix = target.suffix.lower()
    if suffix == ".png":
        return small.PNG
    if images.FORMATS.get(suffix) is images.FORMATS[".jpg"]:
        return small.JPEG
    raise UserError(f"{target}: the small picture must be a .png, which keeps every value, or .jpg")


def _kind_of_input(args, source):
    """(kind, scale) of the weights by which a small picture is restored.

    Of weights that are named, the scale is theirs, None; of a picture that names one that does not
    ship it is 4.
    """
    from hcflow_jax import images, sampling
    from hcflow_jax.images import small

    kind, scale = small.PNG, sampling.DEFAULT_SCALE
    with contextlib.suppress(UserError), images.opened(source.file, args.max_pixels) as image:
        kind, scale = small.weights(image), small.scale(image)
    if args.checkpoint is not None:
        return kind, None
    scale = scale if scale in sampling.shipped_scales("rescaling") else sampling.DEFAULT_SCALE
    for_jpeg = ("rescaling", scale) in sampling.SHIPPED_FOR_JPEG
    return (kind if for_jpeg else small.PNG), scale


def _load(args, kind, scale):
    """(model, params) of the checkpoint that is named, else of the weights for that kind."""
    from hcflow_jax import sampling
    from hcflow_jax.images import small

    jpeg = kind == small.JPEG
    return sampling.load(args.checkpoint, "rescaling", scale, dtype=args.dtype, jpeg=jpeg)


def _tell_strange(args, source, picture, kind):
    """A line on stderr where `restore` is given what `downscale` did not write."""
    from hcflow_jax.images import small

    if not small.is_told(picture) and not args.force:
        progress.say(
            f"{shown(source)}: not as `downscale` writes it: an ordinary picture, or a small one "
            "that was saved again, as JPEG or resized; detail that is restored of it is false, "
            "take `hcflow upscale` for it (--force leaves out this line)"
        )
    elif kind == small.JPEG and small.was_png(picture):
        progress.say(
            f"{shown(source)}: a small PNG that was saved again as JPEG, which costs much of its "
            "detail; `hcflow downscale -o small.jpg` writes JPEGs that keep more"
        )


def _restore(args):
    heaps.settle()
    plan = batch.plan(args, "restore", "restored")
    kinds = {source: _kind_of_input(args, source) for source, _ in plan}
    codes = [0]
    for scale in dict.fromkeys(scale for _, scale in kinds.values()):
        alike = [(source, targets) for source, targets in plan if kinds[source][1] == scale]
        codes.append(_restore_alike(args, alike, kinds))
    return max(codes)


def _restore_alike(args, plan, kinds):
    """Restores small pictures of one scale; their exit code."""
    from hcflow_jax.cli import jobs
    from hcflow_jax.images import small
    from hcflow_jax.sampling import memory

    load = functools.lru_cache(functools.partial(_load, args))
    model, _ = load(*kinds[plan[0][0]])

    def size(source, picture):
        return small.original_size(picture, model.scale, str(source))

    def write(source, job, target, sample):
        jobs.write_sample(args, "restore", source, job, target, sample)

    def sizes_of(source, lr_size):
        return lr_size, tuple(model.scale * side for side in lr_size)

    def held(source, lr_size, _):
        return memory.of_results(lr_size, model.scale, 6 if args.bits == 16 else 3)

    work = jobs.announce(args, plan, model, sizes_of, held)
    whole = jobs.reader(args, size, small.was_grey, cut=True)

    def read(source, targets):
        job = whole(source, targets)
        _tell_strange(args, source, job.picture, kinds[source][0])
        return dataclasses.replace(job, weights=kinds[source])

    def convert(items, report):
        """Those of one kind after another by its weights."""
        for kind, alike in itertools.groupby(items, key=lambda item: item[0].weights):
            yield from jobs.sampler(args, *load(*kind), args.temperature, work)(alike, report)

    return batch.run(plan, read, convert, write, work.tiles)
