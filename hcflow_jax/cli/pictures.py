"""`hcflow upscale`."""

import functools

from hcflow_jax.cli import batch, heaps, sizes
from hcflow_jax.cli.arguments import add_picture_command, add_sampling, region, whole_number
from hcflow_jax.errors import UserError


def add_command(commands) -> None:
    """Adds the parser of `upscale` to `commands`."""
    upscale = add_picture_command(
        commands, "upscale", _upscale, "enlarge pictures, inventing plausible detail", "x4"
    )
    sizes.add_arguments(upscale)
    add_sampling(
        upscale,
        0.5,
        "at which the shipped weights look best; 0 is the most faithful, and softer; full-size "
        "networks look best at 0.8 to 0.9",
    )
    upscale.add_argument(
        "-n",
        "--samples",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="how many different versions to write, numbered OUT_1, OUT_2, … (default: 1)",
    )
    upscale.add_argument(
        "--temperature-map",
        metavar="MAP",
        help="a grey picture of any size, stretched over each picture: black is temperature 0, "
        "white --temperature",
    )
    upscale.add_argument(
        "--region",
        type=region,
        metavar="X,Y,W,H",
        help="draw this part of the result anew, in its pixels, x and y from the upper left "
        "corner; what is farther from it than 96 pixels stays as it is without --region",
    )
    upscale.add_argument(
        "--region-seed",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="which new version of the region; --samples 3 writes N, N + 1 and N + 2 (default: 1)",
    )
    upscale.add_argument(
        "--raw",
        action="store_true",
        help="write the network's own sample, without the back-projection after it, which makes "
        "the result shrink to the input",
    )
    upscale.add_argument(
        "--as-trained",
        action="store_true",
        help="keep the brightness, 255/(2q) too high, that noise U(0, 1)/q of a training with "
        "loss.dequantization=published gives to samples",
    )


def _check_upscale(args):
    """UserError where options contradict one another."""
    if args.temperature == 0:
        for given, what in (
            (args.samples > 1, f"{args.samples} samples at temperature 0 would be the same"),
            (args.region, "--region would change nothing at temperature 0"),
            (args.temperature_map, "white of --temperature-map is --temperature, which is 0"),
        ):
            if given:
                raise UserError(f"{what}; give --temperature 0.5")
    if args.region_seed != 1 and not args.region:
        raise UserError("--region-seed is that of --region; give --region x,y,w,h")


def _temperature(args):
    """The temperature, or a map of it."""
    from hcflow_jax import images

    if args.temperature_map is None:
        return args.temperature
    plane = images.read(args.temperature_map, args.max_pixels).rgb.mean(-1)
    if not plane.any():
        raise UserError(
            f"{args.temperature_map} is black, temperature 0, everywhere; give it lighter places"
        )
    return args.temperature * plane


def _upscale(args):
    heaps.settle()
    from hcflow_jax import sampling
    from hcflow_jax.cli import jobs
    from hcflow_jax.sampling import memory

    _check_upscale(args)
    load = functools.partial(sampling.load, as_trained=args.as_trained, dtype=args.dtype)
    scale, loaded = sizes.network(args), None
    if scale is None:
        loaded = load(args.checkpoint, "sr")
        scale = loaded[0].scale
    plan = batch.plan(args, "upscale", sizes.label(args, scale), args.samples, args.temperature_map)
    if not plan:
        return 0
    sizes.check(args, scale)
    temperature = _temperature(args)
    model, params = loaded or load(None, "sr", scale)

    def size(source, lr_size):
        final = sizes.final(args, source, lr_size, scale)
        if args.region:
            try:
                sampling.check_region(args.region, lr_size, scale, temperature)
            except UserError as error:
                raise UserError(f"{source}: {error}") from error
        return lr_size, final

    def held(source, lr_size, final):
        whole = final == tuple(scale * side for side in lr_size)
        kept = 3 if whole and args.bits != 16 else 6
        return memory.of_results(lr_size, scale, kept, 3 if args.region else 1)

    def write(source, job, target, sample):
        jobs.write_sample(args, "upscale", source, job, target, sample)

    work = jobs.announce(args, plan, model, size, held)
    if work.shrunk:
        sizes.tell(args, scale)
    steps = 0 if args.raw else sampling.BACK_PROJECTION
    draw = jobs.resampler if args.region else jobs.sampler
    convert = draw(args, model, params, temperature, work, steps)
    read = jobs.reader(args, lambda source, picture: size(source, picture.size)[1])
    return batch.run(plan, read, convert, write, work.tiles)
