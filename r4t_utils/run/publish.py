"""Notebooks as files: their parameters, what is volatile in them, and publishing executed outputs.

`python -m r4t_utils.run.publish` copies outputs from results/cpu/sample/notebooks/ into notebooks/, cell by cell.
"""

import ast
import json
import sys
from pathlib import Path

from r4t_utils.run import manifest as manifests
from r4t_utils.run import paths

PARAMETERS = ("profile", "dataset", "data_dir", "seed", "overrides")
DEFAULT = ("cpu", "sample")  # profile and label whose outputs the committed notebooks carry
VOLATILE = ("papermill", "execution", "widgets", "ExecuteTime")


class PublishError(ValueError):
    """An executed notebook that is missing, failed, or not the one that is committed."""


def read(path: Path) -> dict:
    """A notebook as plain JSON; raises PublishError where it is missing or is none."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["cells"], notebook["metadata"]
        return notebook
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PublishError(f"{path.name} cannot be read as a notebook ({error}); restore or run it") from None


def write(path: Path, notebook: dict) -> None:
    manifests.write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def source(cell: dict) -> str:
    return "".join(cell["source"])


def tagged(notebook: dict, tag: str) -> list[dict]:
    """The code cells that carry a tag."""
    return [c for c in notebook["cells"] if c["cell_type"] == "code" and tag in c["metadata"].get("tags", [])]


def parameters(notebook: dict, tag: str = "parameters") -> dict:
    """Names and literal values in the cell tagged `tag`; {} unless there is exactly one such cell."""
    cells = tagged(notebook, tag)
    if len(cells) != 1:
        return {}
    try:
        return {
            statement.targets[0].id: ast.literal_eval(statement.value) for statement in ast.parse(source(cells[0])).body
        }
    except (SyntaxError, ValueError, AttributeError):
        return {}


def clean(notebook: dict) -> dict:
    """Strips run stamps and widget state, in place; outputs and execution counts stay."""
    for holder in (notebook, *notebook["cells"]):
        for key in VOLATILE:
            holder["metadata"].pop(key, None)
        if holder["metadata"].get("tags") == []:
            del holder["metadata"]["tags"]
    return notebook


def merged(executed: Path, committed: Path) -> dict:
    """The committed notebook with the outputs and counts of an executed one, matched by cell id.

    Raises PublishError where sources differ, a cell was not run or ended in an error, or the run's parameters were
    not the notebook's own.
    """
    ran, target = read(executed), read(committed)
    injected = parameters(ran, "injected-parameters")
    changed = {k: v for k, v in injected.items() if v != parameters(target).get(k)}
    if changed:
        raise PublishError(f"{executed.name} ran with {changed}, not with its defaults; run it with those")
    extra = tagged(ran, "injected-parameters")
    cells = {c.get("id"): c for c in ran["cells"] if c not in extra}
    ids = [c.get("id") for c in target["cells"]]
    if None in ids or list(cells) != ids:
        raise PublishError(f"{executed.name}: its cells are not those of the committed one; run it again")
    count = 0
    for cell in target["cells"]:
        done = cells[cell["id"]]
        if source(done) != source(cell):
            raise PublishError(f"{executed.name}: cell {cell['id']} has changed since it ran; run it again")
        if cell["cell_type"] != "code":
            continue
        if any(o["output_type"] == "error" for o in done["outputs"]) or done["execution_count"] is None:
            raise PublishError(f"{executed.name}: cell {cell['id']} failed or was not run; run it again")
        count += 1  # as if the injected parameters had not been a cell of their own
        cell["execution_count"] = count
        cell["outputs"] = [{**o, "execution_count": count} if "execution_count" in o else o for o in done["outputs"]]
    return clean(target)


def main() -> int:
    try:
        notebooks = {
            committed: merged(paths.executed(*DEFAULT, committed.stem), committed)
            for committed in sorted(paths.notebooks().glob("0*.ipynb"))
        }
    except PublishError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for committed, notebook in notebooks.items():  # all six or none
        write(committed, notebook)
        print(f"{committed.name}: outputs of {sum(c['cell_type'] == 'code' for c in notebook['cells'])} cells")
    return 0


if __name__ == "__main__":
    sys.exit(main())
