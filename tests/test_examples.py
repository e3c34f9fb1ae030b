"""The examples as they stand, in one process, so that they share what is compiled."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.platforms import optimised

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(path for path in EXAMPLES.glob("*.py") if path.stem != "panels")
DRIVER = """
import runpy, sys
for script in sys.argv[1:]:
    sys.argv = [script]
    runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """(the folder of their pictures, {name: the lines it prints before its picture's})."""
    folder = tmp_path_factory.mktemp("examples")
    environment = optimised() | {"PYTHONPATH": f"{EXAMPLES}{os.pathsep}{EXAMPLES.parent}"}
    command = [sys.executable, "-c", DRIVER, *map(str, SCRIPTS)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, lines = {}, []
    for line in done.stdout.splitlines():
        if line.startswith("wrote "):
            found[line.removeprefix("wrote ").removesuffix(".png")], lines = lines, []
        else:
            lines.append(line)
    return folder, found


@pytest.mark.slow
@pytest.mark.parametrize("name", [script.stem for script in SCRIPTS])
def test_examples_run_and_make_a_picture(results, name):
    folder, found = results
    assert name in found and found[name][-1].startswith("row by row, from left to right: ")
    with Image.open(folder / f"{name}.png") as picture:
        assert min(picture.size) > 100 and np.asarray(picture).std() > 10


@pytest.mark.slow
def test_pictures_unlike_photographs_are_ranked_behind_them(results):
    lines = [line for line in results[1]["unlike_training"] if "mean energy" in line]
    names = [line.split(None, 1)[1].split(",")[0] for line in lines]
    assert set(names[:2]) == {"photograph", "another part"} and set(names[-2:]) == {"noise", "flat"}


@pytest.mark.slow
def test_a_bijector_of_ones_own_keeps_the_model_exact(results):
    lines = results[1]["own_bijector"]
    errors = [float(line.split("within ")[1].split()[0]) for line in lines if "within" in line]
    assert len(errors) == 4 and max(errors) < 0.01


def test_every_example_is_short_and_in_the_table():
    table = (EXAMPLES / "README.md").read_text()
    for script in SCRIPTS:
        assert f"[{script.name}]({script.name})" in table
        assert len(script.read_text().splitlines()) <= 60
    assert len(SCRIPTS) == 7
