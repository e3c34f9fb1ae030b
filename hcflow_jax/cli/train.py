"""`hcflow train`."""

from hcflow_jax.training import parallel
from hcflow_jax.training.loop import train

USAGE = """usage: hcflow train --config=FILE.py[:VARIANT] --workdir=DIR [--config.FIELD=VALUE …]

Trains on images and continues where DIR left off, however that came about.

  --config   configs/sr_x4.py or configs/sr_x8.py (hcflow, plus, plusplus) or
             configs/rescaling_x4.py; VARIANT picks the recipe, with -tiny for the small network
             that ships with hcflow and -smoke to see that all runs: sr_x4.py:plusplus-tiny
  --workdir  folder of checkpoints and log; give it to --checkpoint later
  --config.data.path=DIR            a folder of images, or a set made by `hcflow data build`
  --config.data.tfds=NAME           or an installed TFDS data set
  --config.data.patch_size=N        side of the training patches, in pixels
  --config.data.workers=N           processes that read ahead (0: threads)
  --config.valid.path=DIR           images for validation, which picks the best checkpoint
  --config.init_from=PATH           checkpoint to start from; plus and plusplus need one
  --config.train.steps=N            iterations
  --config.train.batch_size=N       patches per iteration, over all devices
  --config.train.accumulate=N       parts of it that a device takes in turn
  --config.train.learning_rate=X    every other field of the config likewise
  --config.train.ema=0.999          average the weights
  --config.model.dtype=bfloat16     faster convolutions where the hardware has them
  --config.model.remat=True         less memory, more time
  --config.model.reversible=True    likewise; both together need the least

Several hosts run the same command each, with --distributed where the cluster tells who is who
(TPU pods, SLURM), or else with --coordinator=HOST:PORT --processes=N --process=I.

example:
  hcflow train --config=configs/sr_x4.py:tiny --workdir=runs/sr --config.data.path=photos/
"""


def run(argv: list[str]) -> None:
    """`hcflow train`'s command line; ValueError, one line, when it makes no sense."""
    from absl import flags
    from ml_collections import config_flags

    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config",
        None,
        "FILE.py:variant",
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
        raise ValueError(f"the config has no such field: {error.args[0]}") from error
    except Exception as error:  # the config is a program: anything can come out of it
        reason = str(error).strip().split("\n")[-1].strip()
        raise ValueError(f"{reason}; see `hcflow train --help`") from error
    if values.help:
        print(USAGE)
        return
    if rest:
        raise ValueError(f"{rest[0]!r} is no flag; see `hcflow train --help`")
    for name in ("config", "workdir"):
        if values[name].value is None:
            raise ValueError(f"--{name}=… is missing; see `hcflow train --help`")
    if values.distributed or values.coordinator:
        parallel.connect(values.coordinator, values.processes, values.process)
    train(config, values.workdir)
