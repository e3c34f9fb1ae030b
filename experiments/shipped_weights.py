"""Make the weights that ship with hcflow from scratch: photographs, two trainings, conversion.

    python experiments/shipped_weights.py -o DIR

DIR/photographs (Debian packages, see photographs.py), DIR/rescaling_x4 and DIR/sr_x4 (workdirs;
run again to continue), then hcflow_jax/assets/*.npz and SOURCES.md are replaced. About an hour a
network on two CPU cores.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "hcflow_jax" / "assets"


def run(*command):
    print("+", *command, flush=True)
    done = subprocess.run([sys.executable, *map(str, command)])
    if done.returncode:
        sys.exit(done.returncode)


def centre_noise(path, quant=64):
    """Takes the mean of the dequantisation noise, ½/quant, off what the weights sample.

    The first ActNorm is (x + b)·exp(s): b + ½/quant makes the flow of x that of x + ½/quant.
    """
    arrays = dict(np.load(path))
    arrays["flow.layers.1.actnorm.bias"] += np.float32(0.5 / quant)
    np.savez(path, **arrays)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", required=True, help="folder for photographs and runs")
    output = Path(parser.parse_args().output).absolute()
    photographs = output / "photographs"
    output.mkdir(parents=True, exist_ok=True)
    if not photographs.is_dir():
        run(ROOT / "experiments" / "photographs.py", "-o", photographs)
    for name in ("rescaling_x4", "sr_x4"):
        config = f"--config={ROOT / 'configs' / name}.py:tiny"
        data = f"--config.data.path={photographs}"
        run("-m", "hcflow_jax", "train", config, f"--workdir={output / name}", data)
        made = output / f"{name}.npz"
        made.unlink(missing_ok=True)
        run("-m", "hcflow_jax", "convert", output / name, "-o", made)
        if name == "sr_x4":
            centre_noise(made)
        shutil.copy(made, ASSETS / made.name)
    shutil.copy(photographs / "SOURCES.md", ASSETS / "SOURCES.md")


if __name__ == "__main__":
    main()
