"""The folders of the project: no other module computes where they are, save the folders of one run, which run.py names.

$R4T_ARTIFACTS, $R4T_RESULTS and $R4T_NOTEBOOKS move the three folders; they are read at each call, so a test may
set them.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _moved(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or ROOT / default).expanduser().resolve()


def artifacts() -> Path:
    """What runs make: hand-overs between stages, results, executed notebooks."""
    return _moved("R4T_ARTIFACTS", "artifacts")


def results() -> Path:
    """Recorded numbers and figures of every profile and data set."""
    return _moved("R4T_RESULTS", "results")


def notebooks() -> Path:
    """The six notebooks, with the recorded outputs of the default run."""
    return _moved("R4T_NOTEBOOKS", "notebooks")


def shown(path: Path) -> str:
    """A path for people: from the project's folder where it lies in there."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def notebook(stage: str) -> Path:
    """The notebook of a stage, as it is committed."""
    return notebooks() / f"{stage}.ipynb"


def profiles() -> Path:
    """The profile YAML files; these stay with the code even where $R4T_NOTEBOOKS points elsewhere."""
    return ROOT / "notebooks" / "profiles"
