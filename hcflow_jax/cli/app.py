"""`hcflow app`."""

import argparse
import os
import secrets
import sys
from pathlib import Path

from hcflow_jax.cli import heaps
from hcflow_jax.cli.arguments import add_max_pixels, amount, whole_number
from hcflow_jax.errors import UserError, needing


def add_command(commands) -> None:
    """Adds the parser of the command to `commands`."""
    command = commands.add_parser(
        "app",
        help="upscale, explore, shrink and evaluate in the browser",
        description="Serves a page on this machine, for this machine alone: upscale a picture, "
        "look at versions of it and draw parts anew, shrink and restore it, evaluate a folder. "
        "Needs no network; pip install 'hcflow_jax[app]'. Ctrl-C ends it.",
    )
    command.set_defaults(run=_app)
    command.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where to listen; at one that other machines reach (0.0.0.0: all that this one has) "
        "the page asks for a token, which is printed (default: %(default)s)",
    )
    command.add_argument(
        "--port",
        type=whole_number(1, 65535),
        metavar="N",
        help="default: 7860, or the next one that is free",
    )
    command.add_argument(
        "--root",
        metavar="DIR",
        help="a folder; those in it can be evaluated, and nothing outside it (default: none)",
    )
    command.add_argument(
        "--checkpoint",
        metavar="PATH",
        action="append",
        default=[],
        help="use this model for its task; may be given twice (default: the small weights that "
        "ship with hcflow)",
    )
    add_max_pixels(command)
    command.add_argument(
        "--max-upload",
        type=_file_size,
        default="50M",
        metavar="SIZE",
        help="refuse larger files than that, such as 200M or 1G (default: %(default)s)",
    )
    command.add_argument("--no-browser", action="store_true", help="do not open one")


def _file_size(text):
    try:
        return amount(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size of a file; give one such as 50M or 1G"
        ) from error


def _root(args):
    """The folder, its links followed, or None; UserError where there is none of that name."""
    if args.root is None:
        return None
    if not args.root or not Path(args.root).is_dir():
        raise UserError(f"--root {args.root} is no folder; name one")
    return Path(args.root).resolve()


def _app(args):
    heaps.settle()
    with needing("app"):
        from hcflow_jax.app import serving
    from hcflow_jax.app.networks import Networks
    from hcflow_jax.app.server import App, Settings

    root, networks = _root(args), Networks(args.checkpoint)
    if args.checkpoint:
        networks.check()
    found = serving.bound(args.host, args.port)
    with found:
        token, port = None, found.getsockname()[1]
        if not serving.is_loopback(found):
            token = secrets.token_urlsafe(24)
            print(
                f"hcflow: listening at {args.host}, beyond this machine: whoever has the address "
                "below can use the app, and what is sent is not encrypted",
                file=sys.stderr,
                flush=True,
            )
        hosts = serving.hosts(found, args.host)
        settings = Settings(
            root, args.max_pixels, args.max_upload, token, port, hosts, heaps.release
        )
        address = _address(hosts[0], port, token)
        print(f"{address}  (Ctrl-C ends it)", flush=True)
        if not args.no_browser:
            serving.open_browser(address)
        app = App(networks, settings)
        try:
            serving.Server(app).run_at(found)
        except KeyboardInterrupt:
            if app.queue.is_busy:  # Python's end would wait for it, or crash in the midst of it
                print("hcflow: interrupted", file=sys.stderr, flush=True)
                os._exit(130)
            raise


def _address(host, port, token):
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/{f'?token={token}' if token else ''}"
