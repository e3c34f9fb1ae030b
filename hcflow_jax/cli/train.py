"""`hcflow train`."""

from hcflow_jax.errors import UserError
from hcflow_jax.training import parallel, recipes
from hcflow_jax.training.config import help_text
from hcflow_jax.training.loop import train

USAGE = """usage: hcflow train --config=RECIPE[:VARIANT] --workdir=DIR [--config.FIELD=VALUE …]

Trains on images and continues where DIR left off, however that came about.

  --config   a recipe ({recipes}), or FILE.py, a Python program
             of one's own that is run: configs/ shows how to write one. VARIANT: hcflow, plus,
             plusplus; tiny for the small network that ships with hcflow, smoke to see that all
             runs; plus-tiny, …
  --workdir  folder of checkpoints and log; give it to --checkpoint later

Several hosts run the same command each, with --distributed where the cluster tells who is who
(TPU pods, SLURM), or else with --coordinator=HOST:PORT --processes=N --process=I.

example:
  hcflow train --config=sr_x4:tiny --workdir=runs/sr --config.data.path=photos/

Fields, with the defaults that recipes share:
  --config.init_from=PATH  checkpoint or workdir to start from; plus and plusplus need one
"""


def _with_pages(argv):
    """`argv` with names of recipes replaced by their pages, which is what the flag takes."""
    found = list(argv)
    for i, word in enumerate(argv):
        if word.startswith("--config="):
            found[i] = f"--config={recipes.find(word.removeprefix('--config='))}"
        elif word == "--config" and i + 1 < len(argv):
            found[i + 1] = recipes.find(argv[i + 1])
    return found


def run(argv: list[str]) -> None:
    """`hcflow train`'s command line; UserError, one line, when it makes no sense."""
    from absl import flags
    from ml_collections import config_flags

    values, argv = flags.FlagValues(), _with_pages(argv)
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
        rest = values(["hcflow", *argv])[2:]
        config = values.config
    except KeyError as error:
        raise UserError(f"the config has no such field: {error.args[0]}") from error
    except Exception as error:  # the config is a program: anything can come out of it
        reason = str(error).strip().split("\n")[-1].strip()
        raise UserError(f"{reason}; see `hcflow train --help`") from error
    if values.help:
        print(USAGE.format(recipes=", ".join(recipes.names())) + help_text())
        return
    if rest:
        raise UserError(f"{rest[0]!r} is no flag; see `hcflow train --help`")
    for name in ("config", "workdir"):
        if values[name].value is None:
            raise UserError(f"--{name}=… is missing; see `hcflow train --help`")
    if values.distributed or values.coordinator:
        parallel.connect(values.coordinator, values.processes, values.process)
    train(config, values.workdir, alone=True)
