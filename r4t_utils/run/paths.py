"""The folders of the project and of its runs: no other module computes where they are.

    artifacts/<profile>/<label>/<stage>/         what a stage hands on (ignored by git)
    results/<profile>/<label>/                   what a reader wants: tables, figures, executed notebooks

`label` names the data (sample, polyvore, polyvore-subset). $R4T_ARTIFACTS, $R4T_RESULTS and $R4T_NOTEBOOKS
move the three folders; they are read at each call, so a test may set them.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _moved(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or ROOT / default).expanduser().resolve()


def artifacts() -> Path:
    """Checkpoints and hand-overs between stages."""
    return _moved("R4T_ARTIFACTS", "artifacts")


def results() -> Path:
    """Recorded numbers, figures and executed notebooks of every profile and data set."""
    return _moved("R4T_RESULTS", "results")


def notebooks() -> Path:
    """The six notebooks as committed."""
    return _moved("R4T_NOTEBOOKS", "notebooks")


def profiles() -> Path:
    """The profile YAML files; these stay with the code even where $R4T_NOTEBOOKS points elsewhere."""
    return ROOT / "notebooks" / "profiles"


def profile(name: str) -> Path:
    return profiles() / f"{name}.yaml"


def notebook(stage: str) -> Path:
    return notebooks() / f"{stage}.ipynb"


def run_artifacts(profile: str, label: str) -> Path:
    return artifacts() / profile / label


def stage(profile: str, label: str, name: str) -> Path:
    """Folder of a finished stage."""
    return run_artifacts(profile, label) / name


def partial(profile: str, label: str, name: str, pid: int) -> Path:
    """Where process `pid` builds a stage before it is renamed to `stage(...)`."""
    return run_artifacts(profile, label) / f".{name}.{pid}.partial"


def partial_results(profile: str, label: str, name: str, pid: int) -> Path:
    """Where process `pid` gathers a stage's results before they join `run_results(...)`."""
    return run_results(profile, label) / f".{name}.{pid}.partial"


def partials(profile: str, label: str, name: str) -> list[Path]:
    """The folders of both kinds, of every process."""
    parents = run_artifacts(profile, label), run_results(profile, label)
    return [path for parent in parents for path in sorted(parent.glob(f".{name}.*.partial"))]


def replaced(folder: Path) -> Path:
    """Where a finished stage waits while its successor takes its place."""
    return folder.with_name(f".{folder.name}.replaced")


def manifest(folder: Path) -> Path:
    return folder / "manifest.json"


def run_results(profile: str, label: str) -> Path:
    return results() / profile / label


def executed(profile: str, label: str, name: str) -> Path:
    """The executed notebook of a stage."""
    return run_results(profile, label) / "notebooks" / f"{name}.ipynb"


def executing(profile: str, label: str, name: str) -> Path:
    """The same notebook while it runs; renamed to `executed(...)` once it succeeds."""
    return run_results(profile, label) / "notebooks" / f".{name}.running.ipynb"


def failed(profile: str, label: str, name: str) -> Path:
    """The executed notebook of a stage that failed, kept for a look at its traceback."""
    return run_artifacts(profile, label) / f"{name}.failed.ipynb"
