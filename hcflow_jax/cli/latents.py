"""`hcflow encode` and `decode`: pictures as what the flow makes of them, and exactly back."""

from pathlib import Path

from hcflow_jax.cli import batch
from hcflow_jax.cli.arguments import add_checkpoint, add_max_pixels, add_task, add_tile
from hcflow_jax.errors import UserError, shown

LOSSY = (".jpg", ".jpeg")
"""Suffixes of formats that would lose what `decode` brings back."""


def add_commands(commands) -> None:
    """Adds the parsers of the two commands to `commands`."""
    summary = "turn a picture into its LR image and latents, which hold all of it"
    encode = commands.add_parser("encode", help=summary, description=summary)
    encode.set_defaults(run=_encode)
    encode.add_argument("input", metavar="IN", help="a picture")
    encode.add_argument("-o", "--output", metavar="OUT", required=True, help="a .npz")
    add_checkpoint(encode)
    add_task(encode)
    add_tile(encode)
    add_max_pixels(encode)
    summary = "bring a picture back from what `encode` wrote, to the bit"
    decode = commands.add_parser("decode", help=summary, description=summary)
    decode.set_defaults(run=_decode)
    decode.add_argument("input", metavar="IN", help="a .npz that `encode` wrote")
    decode.add_argument("-o", "--output", metavar="OUT", required=True, help="a picture")
    add_checkpoint(decode)
    add_max_pixels(decode)


def _encode(args):
    import numpy as np

    from hcflow_jax import images, sampling
    from hcflow_jax.images.metrics import to_uint8
    from hcflow_jax.sampling import encoded_files, encoding

    target = Path(args.output)
    if target.suffix.lower() != ".npz":
        raise UserError(f"{target}: the latents are arrays; name a .npz")
    images.check_place(target)
    picture = images.read(args.input, args.max_pixels)
    rgb = to_uint8(picture.rgb).astype(np.float32) / 255
    model, params = sampling.load(args.checkpoint, args.task)
    with batch.progress() as report:
        encoded = encoding.encode_picture(model, params, rgb, args.tile, report)
        again = encoding.decode_picture(model, params, encoded, args.tile, report)
    count, most = encoding.changed_values(rgb, again)
    if count:
        raise UserError(
            f"{args.input}: {count:,} of {rgb.size:,} values would come back changed, by up to "
            f"{most} of 255; {_remedy(args, rgb)}"
        )
    encoded_files.write_encoded(
        target, model, params, encoded, args.tile, picture.grey, picture.alpha
    )
    values = encoded.lr.size + sum(latent.size for latent in encoded.latents)
    height, width = encoded.size
    print(f"{shown(target)}  {width}×{height}, {values:,} values; decodes to the same 8 bits")


def _remedy(args, rgb):
    """What may help where a network does not bring a picture back."""
    if max(rgb.shape) > args.tile:
        side = max(rgb.shape) + -max(rgb.shape) % 256
        return f"squares do not see all that this network does, compute it whole by --tile {side}"
    return "this network is not invertible on it in 32 bits, use other weights by --checkpoint"


def _decode(args):
    from hcflow_jax import images, sampling
    from hcflow_jax.sampling import encoded_files, encoding

    target = Path(args.output)
    if target.suffix.lower() in LOSSY:
        raise UserError(f"{target}: JPEG would not keep the picture exactly; name a .png")
    images.check_writable(target)
    info = encoded_files.read_info(args.input, args.max_pixels)
    model, params = sampling.load(args.checkpoint, info.task, info.scale)
    encoded, alpha = encoded_files.read_encoded(args.input, info, model, params)
    images.check_writable(target, alpha is not None)
    with batch.progress() as report:
        rgb = encoding.decode_picture(model, params, encoded, info.tile, report)
    batch.write(target, rgb, alpha, info.grey)
