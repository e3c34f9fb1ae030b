"""One picture through `hcflow upscale`, `downscale` or `restore`: read, sampled, written."""

import contextlib
import dataclasses
import functools
import itertools
import math
import sys
from collections import deque
from collections.abc import Callable

import numpy as np

from hcflow_jax import images, sampling
from hcflow_jax.cli import batch, progress, sources
from hcflow_jax.errors import UserError, counted, shown
from hcflow_jax.images import coding, scratch
from hcflow_jax.images.resize import Resized
from hcflow_jax.sampling import memory, tiling

LONG_WORK = 4_000_000
"""Pixels of large pictures whose making is announced: ten seconds of two CPU cores. A step of the
search for small pictures counts three times."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A picture, and what is known of its results before the work.

    Attributes:
      size: their height and width.
      cut: whether they are the upper left part of what the network gives, else shrunk from it.
      grey: whether they have one channel.
      code: how their files code pixels.
      weights: of which weights the network is, where a command has several.
    """

    picture: images.Picture
    size: tuple[int, int]
    cut: bool
    grey: bool
    code: coding.Coding
    weights: str | None = None

    def kept(self, scale):
        """How samples of a network of `scale` are kept until they are written.

        As the file has them, or in 16 bits where they are to be shrunk.
        """
        whole = tuple(scale * side for side in self.picture.size)
        return (self.code if self.cut or self.size == whole else coding.Coding(16)).values


def reader(args, size, grey=lambda picture: picture.grey, cut=False):
    """read(source, targets) -> Job of `batch.run`.

    size(source, picture) is that of results; it may refuse a picture.
    """

    def read(source, targets):
        empty = functools.partial(scratch.empty, folder=targets[0].parent)
        picture = sources.read(source, args.max_pixels, choosing=True, empty=empty)
        final = size(source, picture)
        for target in targets:
            bits = images.result_bits(target, picture.bits, args.bits)
            images.check_writable(target, picture.alpha is not None, final, bits)
        code = images.result_coding(targets[0], grey(picture), bits, picture.profile)
        return Job(picture, final, cut, grey(picture), code)

    return read


@dataclasses.dataclass(frozen=True)
class Work:
    """All the work of a command.

    Attributes:
      tile, tiles: the side of its tiles, and how many there are.
      empty: `scratch.empty` where results go.
      batch: how many tiles a device computes at a time.
      shrunk: whether some results are smaller than what the network gives.
    """

    tile: int
    tiles: int
    empty: Callable[..., np.ndarray]
    shrunk: bool = False
    batch: int = 1


def announce(args, plan, model, size, held, refine=0):
    """The Work of a plan, after a line on stderr where it has the work of LONG_WORK pixels.

    Sizes are read from headers; pictures of which that fails are told of when it is their turn.

    Args:
      size: (source, (height, width) of a picture) -> those of its LR image, and of its result;
        UserError where it is refused.
      held: (source, lr_size, final size) -> bytes in which pictures are held.
      refine: steps of the search for each small picture.

    Raises:
      UserError: what --memory allows is too little.
    """
    found = []
    for source, targets in plan:
        with contextlib.suppress(UserError):
            lr_size, final = size(source, images.header_size(source.file, args.max_pixels))
            images.check_size(targets[0], final, bits=args.bits)
            found.append((lr_size, final, targets, source))
    if not found:
        return Work(_given(args.tile, tiling.TILE), 0, _room(plan), batch=_given(args.batch, 1))
    large, final, _, source = max(found, key=lambda item: math.prod(item[0]))
    free = memory.available()
    budget, tile, together = args.memory or free // 2, args.tile, args.batch
    bytes_held = held(source, large, final)
    if tile == "auto":
        tile = memory.fitting(model, large, bytes_held, budget, refine > 0)
    tiling.check_tile(tile, model.scale)
    tiles = sum(
        tiling.count(lr_size, model.scale, tile) * len(targets) for lr_size, _, targets, _ in found
    )
    if together == "auto":
        together = memory.filling(model, large, tile, bytes_held, budget, tiles, refine > 0)
    needed = memory.needed(model, large, tile, bytes_held, together, tiles, refine > 0)
    if args.memory is not None and needed > args.memory:
        search = " with --refine" if refine else ""
        what = (
            f"the largest result, {final[1]}×{final[0]}, takes about {_gigabytes(needed)}{search}"
        )
        if args.memory <= memory.PROGRAM_BYTES:
            what = f"hcflow itself takes {_gigabytes(memory.PROGRAM_BYTES)}"
        raise UserError(f"{what}, more than --memory allows; allow {_gigabytes(needed)}")
    pixels = sum(math.prod(lr_size) * len(targets) for lr_size, _, targets, _ in found)
    if pixels * model.scale**2 * (1 + 3 * refine) >= LONG_WORK:
        what = f"{plan[0][0]}:" if len(plan) == 1 else f"{len(plan)} pictures: up to"
        short = f", of which {_gigabytes(free)} are free" if needed > free else ""
        steps = f"{counted(refine, 'step')} of search in each, " if refine else ""
        sides = "" if tile == tiling.TILE else f" of {tile} pixels a side"
        progress.say(
            f"{shown(what)} {final[1]}×{final[0]} pixels, {counted(tiles, 'tile')}{sides}, "
            f"{steps}about {_gigabytes(needed)} of memory{short}"
        )
    scale = model.scale
    shrunk = any(final != tuple(scale * side for side in lr) for lr, final, *_ in found)
    return Work(tile, tiles, _room(plan), shrunk, together)


def _given(asked, automatic):
    return automatic if asked == "auto" else asked


def _gigabytes(count):
    return f"{count / 1e9:.1f} GB"


def _room(plan):
    """`scratch.empty` in the folder of the first result."""
    folders = (target.parent for _, targets in plan for target in targets)
    return functools.partial(scratch.empty, folder=next(folders))


def sampler(args, model, params, temperature, work, back_project=0):
    """convert(jobs, progress) -> samples of `batch.run`."""

    def convert(jobs, report):
        codes = deque()

        def inputs():
            for job, index in jobs:
                codes.append(job.kept(model.scale))
                yield job.picture.pixels, index

        return sampling.sample_all(
            model,
            params,
            inputs(),
            temperature,
            args.seed,
            work.tile,
            check=not args.no_check,
            back_project=back_project,
            progress=report,
            codes=iter(codes.popleft, None),
            batch=work.batch,
            empty=work.empty,
        )

    return convert


def resampler(args, model, params, temperature, work, back_project):
    """As `sampler`, of pictures whose region is drawn anew."""

    def convert(jobs, report):
        for job, index in jobs:
            if index == 0:
                versions = sampling.resample_all(
                    model,
                    params,
                    job.picture.pixels,
                    temperature,
                    args.region,
                    itertools.count(args.region_seed),
                    seed=args.seed,
                    tile=work.tile,
                    check=not args.no_check,
                    back_project=back_project,
                    progress=report,
                    code=job.kept(model.scale),
                    batch=work.batch,
                    empty=work.empty,
                )
            yield next(versions)

    return convert


def write_sample(args, command, source, job, target, sample):
    """Writes a sample, cut or shrunk to the size of the result, with its alpha channel."""
    _check_sample(args, source, sample)
    pixels, whole = sample.pixels, sample.pixels.shape[:2]
    coded = np.issubdtype(pixels.dtype, np.integer)
    if job.cut or job.size == whole:
        pixels = pixels[: job.size[0], : job.size[1]]
    else:
        pixels, coded = Resized(pixels, job.size, factor=1 / 65535 if coded else 1.0), False
    alpha = job.picture.alpha
    if alpha is not None:
        alpha = Resized(alpha, whole if job.cut else job.size, job.size)
    about = batch.about(args, command, job.picture, target)
    batch.write(target, pixels, alpha, job.grey, **about, coded=coded)


def _check_sample(args, source, sample):
    """A line on stderr where it is not what was asked for; UserError where it is not finite."""
    said = []
    if sample.colder:
        said.append(
            f"{_share(sample.colder, sample.colder_in)} drawn again at a lower temperature, as "
            f"samples at {args.temperature:g} did not match the input there"
        )
    if sample.bicubic:
        said.append(
            f"{_share(sample.bicubic, sample.bicubic_in)} enlarged by bicubic interpolation "
            "instead, as the network fails there at temperature 0 too (--no-check shows how)"
        )
    if said:
        print(f"{shown(source)}: {'; '.join(said)}", file=sys.stderr, flush=True)
    if not sample.finite:
        raise UserError(f"{source}: the network's result is not finite; leave out --no-check")


def _share(fraction, place):
    """How much of a picture that is, and where in the input."""
    if fraction == 1:
        return "100 %"
    share = f"{100 * fraction:.0f} %" if fraction >= 0.01 else "less than 1 %"
    x, y, width, height = place
    return f"{share} (of IN columns {x}…{x + width - 1}, rows {y}…{y + height - 1})"
