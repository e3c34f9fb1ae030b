"""The `features.json` of prepared data sets, which tells TFDS which classes decode the data.

TFDS imports the module of a class that it does not know: a file would choose the code that is run.
"""

import json
import re
from pathlib import Path

from hcflow_jax import paths
from hcflow_jax.errors import UserError

FILE = "features.json"

_OWN = re.compile(r"tensorflow_datasets\.core\.features\.[\w.]+")


def check(directory: str | Path) -> None:
    """UserError where `directory`/features.json names a class that is not of TFDS itself.

    A missing file is left to TFDS; ValueError or OSError for one that cannot be read.
    """
    path = paths.located(directory) / FILE
    if not paths.is_file(path):
        return
    for name in _classes(json.loads(path.read_text())):
        if not _OWN.fullmatch(name):
            raise UserError(
                f"{path} names {name!r}, which is no class of TensorFlow Datasets and is not "
                "imported; take a set of images whose features are tfds.features"
            )


def check_all(directory: str | Path) -> None:
    """`check` of every data set in a folder and below."""
    for path in paths.located(directory).glob(f"**/{FILE}"):
        check(path.parent)


def _classes(value):
    """Yields the class names in a tree of JSON values, of both formats that TFDS reads."""
    if isinstance(value, dict):
        keys = ["pythonClassName", "python_class_name", *(["type"] if "content" in value else [])]
        yield from (str(value[key]) for key in keys if not isinstance(value.get(key, {}), dict))
    children = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        for child in children:
            yield from _classes(child)
