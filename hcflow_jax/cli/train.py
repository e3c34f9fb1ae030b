"""`hcflow train`."""

import re
import sys

from hcflow_jax.errors import UserError, nearest
from hcflow_jax.training import determinism, naming, recipes
from hcflow_jax.training.config import field_names, help_text

USAGE = """usage: hcflow train --config=RECIPE[:VARIANT] --workdir=DIR [--config.FIELD=VALUE …]

Trains on images, and continues from the last checkpoint in DIR.

  --config   a recipe ({recipes}), or FILE.py, a Python file that
             is executed: configs/ shows how to write one. VARIANT: hcflow, plus, plusplus; tiny,
             the small network that ships with hcflow; smoke, four steps; plus-tiny, …
  --workdir  folder of checkpoints and log, for --checkpoint later

Each of several hosts runs the same command, with --distributed where JAX can detect the cluster
(TPU pods, SLURM), otherwise with --coordinator=HOST:PORT --processes=N --process=I.

On Linux it starts itself again with allocator settings for CPUs; HCFLOW_ALLOCATOR=system in the
environment leaves that out.

example:
  hcflow train --config=sr_x4:tiny --workdir=runs/sr --config.data.path=photos/

Fields, with the defaults that recipes share:
  --config.init_from=PATH  checkpoint or workdir to start from; plus and plusplus need one
"""


def _with_files(argv):
    """`argv` with names of recipes replaced by their files, as the flag needs them."""
    replaced = list(argv)
    for i, word in enumerate(argv):
        flag, equals, name = word.partition("=")
        if flag not in ("-config", "--config"):
            continue
        if equals:
            replaced[i] = f"{flag}={recipes.find(name)}"
        elif i + 1 < len(argv):
            replaced[i + 1] = recipes.find(argv[i + 1])
    return replaced


_FLAGS = "config", "workdir", "help", "distributed", "coordinator", "processes", "process"


def _reason(error, argv):
    """What an error that came while flags were read says, without the layers around it."""
    from absl import flags

    if isinstance(error, flags.UnrecognizedFlagError):
        near = nearest(error.flagname, _FLAGS)
        meant = f"; did you mean --{near}?" if near else ""
        return f"`hcflow train` has no flag --{error.flagname}{meant}"
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    if isinstance(causes[-1], UserError):
        return str(causes[-1])
    unknown = isinstance(error, AttributeError) and isinstance(causes[-1], KeyError)
    if not (unknown or isinstance(error, KeyError)):
        return str(error).strip().split("\n")[-1].strip()
    key = str(causes[-1].args[0]).split()[-1]
    names = [word.lstrip("-").partition("=")[0].removeprefix("config.") for word in argv]
    known = field_names()
    meant = [name for name in names if key in (name, *name.split("."))]
    meant.sort(key=lambda name: name in known)  # those that are known may be of the other task
    return naming.unknown([*meant, key][0], known)


def _quieten():
    """Hides warnings where all is well, and tracebacks of errors that orbax and clu raise too."""
    from absl import logging

    logging.set_verbosity(logging.ERROR)
    for logger in (logging.get_absl_logger(), logging.logging.getLogger("asyncio")):
        logger.addFilter(_is_news)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _tell_unraisable


def _is_news(record):
    return not re.search(r"[/\\](orbax|clu|asyncio)[/\\]", record.pathname)


def _tell_unraisable(found):
    """What Python does, but for calls back of orbax's writers after one of them has failed."""
    if str(found.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(found)


def run(argv: list[str]) -> None:
    """Runs `hcflow train` with these arguments; UserError when they are wrong."""
    from absl import flags
    from ml_collections import config_flags

    values, argv = flags.FlagValues(), _with_files(argv)
    config_flags.DEFINE_config_file(
        "config",
        None,
        "RECIPE[:VARIANT] or FILE.py[:VARIANT]",
        flag_values=values,
        sys_argv=["hcflow", *argv],
    )
    flags.DEFINE_string("workdir", None, "folder of checkpoints and log", flag_values=values)
    flags.DEFINE_boolean("help", False, "show this", flag_values=values, short_name="h")
    flags.DEFINE_boolean("distributed", False, "one of several processes", flag_values=values)
    flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0", flag_values=values)
    flags.DEFINE_integer("processes", 0, "how many", flag_values=values)
    flags.DEFINE_integer("process", 0, "which one this is", flag_values=values)
    try:
        positional = values(["hcflow", *argv])[2:]
        config = values.config
        if config is not None:
            config.to_dict()  # a file that could not be read fails here, not before
    except Exception as error:  # the config is a program: anything can come out of it
        reason = _reason(error, argv)
        remedy = "" if reason.endswith("?") else "; see `hcflow train --help`"
        raise UserError(f"{reason}{remedy}") from error
    if values.help:
        print(USAGE.format(recipes=", ".join(recipes.names())) + help_text())
        return
    if positional:
        raise UserError(f"{positional[0]!r} is not a flag; see `hcflow train --help`")
    for name in ("config", "workdir"):
        if values[name].value is None:
            raise UserError(f"--{name}=… is missing; see `hcflow train --help`")
    if config.get("train", {}).get("deterministic"):
        determinism.ask()
    _quieten()
    from hcflow_jax import devices  # imports of seconds, which wrong flags need not
    from hcflow_jax.training import peers
    from hcflow_jax.training.loop import train

    if values.distributed or values.coordinator:
        devices.connect(values.coordinator, values.processes, values.process)
    with peers.watched():
        train(config, values.workdir, alone=True)
