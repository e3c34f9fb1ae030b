"""The `hcflow` command: its parser and dispatch."""

import argparse
import sys
import warnings

from hcflow_jax import __version__, paths
from hcflow_jax.cli import (
    app,
    convert,
    data,
    evaluate,
    export,
    latents,
    likelihood,
    output,
    pictures,
    programs,
    rescaling,
    suggesting,
)
from hcflow_jax.cli.arguments import Parser
from hcflow_jax.errors import needing, one_line
from hcflow_jax.training import memory

EPILOG = """examples:
  hcflow demo                                     a picture that shows what the flow does
  hcflow upscale photo.jpg                        photo_x4.png beside it
  hcflow upscale photo.jpg -o big.png --temperature 0.8 --samples 5
  hcflow downscale photo.jpg -o small.png         a quarter of the size, made to be restored
  hcflow restore small.png -o photo_again.png
  hcflow score photo.jpg                          its bits per dimension, term by term
  hcflow encode photo.jpg -o photo.npz            LR image and latents, by which
  hcflow decode photo.npz -o photo_again.png      it comes back to the bit
  hcflow latents holiday/ -o latents.png          are they Gaussian?
  hcflow evaluate Set5/                           a report of figures and pictures, as papers do
  hcflow app                                      all of it in the browser
  hcflow train --config=sr_x4:tiny --workdir=runs/sr --config.data.path=photos/
  hcflow convert SR_DF2K_X4_HCFlow.pth -o sr_x4   the authors' weights, for --checkpoint sr_x4
  hcflow export -o sampler.stablehlo              a file that JAX runs without hcflow
"""


def _parser():
    parser = Parser(
        prog="hcflow",
        description="Super-resolution and rescaling of pictures with one invertible network.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hcflow {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    pictures.add_command(commands)
    rescaling.add_commands(commands)
    demo = commands.add_parser("demo", help="shrink, restore and super-resolve a photograph")
    demo.set_defaults(run=_demo)
    demo.add_argument(
        "-o", "--output", metavar="DIR", default="hcflow_demo", help="default: %(default)s"
    )
    demo.add_argument(
        "--checkpoint",
        metavar="PATH",
        action="append",
        default=[],
        help="use this model for its task; may be given twice",
    )
    likelihood.add_command(commands)
    latents.add_commands(commands)
    evaluate.add_command(commands)
    convert.add_command(commands)
    export.add_command(commands)
    app.add_command(commands)
    data.add_command(commands)
    commands.add_parser("train", help="train a model: `hcflow train --help`", add_help=False)
    _add_help(commands)
    return parser


def _add_help(commands):
    """Adds the commands about the command line itself."""
    summary = "print what makes a shell complete commands, options and names of files"
    completion = commands.add_parser(
        "completion",
        help=summary,
        description=f"{summary}; `hcflow completion bash > ~/.hcflow_completion`, and "
        'the line `eval "$(<~/.hcflow_completion)"` in ~/.bashrc (of zsh in ~/.zshrc, after '
        "compinit)",
    )
    completion.set_defaults(run=_completion)
    completion.add_argument("shell", choices=("bash", "zsh"), help="which shell")
    about = commands.add_parser("help", help="what a command does: as COMMAND --help")
    about.set_defaults(run=lambda args: _run([*args.command, "--help"]))
    about.add_argument("command", nargs="*", metavar="COMMAND", help="a command")


def _completion(args):
    from hcflow_jax.cli import completion

    print(completion.script(_parser(), args.shell))


def _demo(args):
    from hcflow_jax.cli import demo

    demo.run(paths.local(args.output, "name a local folder"), args.checkpoint)


def _run(argv):
    warnings.filterwarnings("ignore", module="PIL")  # `images` reports what is wrong with a file
    if argv[:1] == ["train"]:
        with needing("train"):
            from hcflow_jax.cli import train
        train.run(argv)
        return 0
    if not argv:
        _parser().print_help()
        return 0
    parser = _parser()
    options = {name: command.options for name, command in parser.commands.items()}
    suggesting.check_command(argv, options, parser.options)
    args = parser.parse_args(argv)
    return args.run(args) or 0


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    0; 1 where some pictures of several failed; 2 after one line on stderr with the cause and the
    remedy; 130 when interrupted. An exception that is a bug is raised, with its traceback.
    """
    if argv is None:
        argv = sys.argv[1:]
        if argv[:1] == ["train"] and not {"-h", "--help"} & set(argv):
            memory.restart_with_settings(argv)
    with output.steady():
        try:
            with programs.kept():
                return _run(argv)
        except KeyboardInterrupt:
            print("hcflow: interrupted", file=sys.stderr)
            return 130
        except Exception as error:
            line = one_line(error)
            if line is None:
                error.add_note("This is a bug in hcflow; please report it with the lines above.")
                raise
            print(f"hcflow: {line}", file=sys.stderr)
            return 2
