"""Toy notebooks for the tests of the plumbing: two stages that take a second each."""

import json
from pathlib import Path

from r4t_utils.run import paths

PARAMETERS = 'profile = "smoke"\ndataset = "sample"\ndata_dir = ""\nseed = 0\noverrides = ""'
BEGIN = (
    "from r4t_utils.machine import progress\nfrom r4t_utils.run.stage import begin\n"
    'stage = begin("{stage}", profile=profile, dataset=dataset, data_dir=data_dir, seed=seed,'
    " overrides=overrides)"
)
FIRST = (
    'stage.path("numbers.json").write_text(str(list(progress.track(range(3), "toy"))))\n'
    'stage.record("toy", {"seed": stage.seed})'
)
SECOND = (
    'text = (stage.input("01_data_curation") / "numbers.json").read_text()\nstage.path("copy.json").write_text(text)'
)


def code(name: str, source: str, tags=()) -> dict:
    metadata = {"tags": list(tags)} if tags else {}
    return {
        "cell_type": "code",
        "id": name,
        "metadata": metadata,
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def notebook(cells: list[dict]) -> dict:
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def save(folder: Path, stage: str, *work: str) -> Path:
    """A notebook with the project's parameters cell, a begin cell, the given cells and a finish cell."""
    cells = [code("parameters", PARAMETERS, ["parameters"]), code("begin", BEGIN.format(stage=stage))]
    cells += [code(f"work-{i}", source) for i, source in enumerate(work)]
    cells += [code("finish", "stage.finish(); print('written')", ["nbval-check-output"])]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stage}.ipynb"
    path.write_text(json.dumps(notebook(cells)))
    return path


def contents(*folders: Path) -> dict[str, bytes]:
    """Every file below the folders with its content, to compare before and after."""
    return {str(p): p.read_bytes() for folder in folders for p in sorted(folder.rglob("*")) if p.is_file()}


def run_in_process(stage: str, run) -> tuple[float, float]:
    """Stands in for `kernel.execute` where a test needs no kernel."""
    cells = [c for c in json.loads(paths.notebook(stage).read_text())["cells"] if c["cell_type"] == "code"]
    names = {"profile": run.profile, "dataset": run.dataset, "data_dir": "", "seed": run.seed}
    names["overrides"] = run.overrides
    for cell in cells[1:]:
        exec("".join(cell["source"]), names)
    done = run.executed(stage)
    done.parent.mkdir(parents=True, exist_ok=True)
    done.write_text(json.dumps(notebook([{**cell, "execution_count": n} for n, cell in enumerate(cells, 1)])))
    return 1.0, 100.0
