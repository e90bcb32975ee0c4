"""Notebooks as files: their parameters, and what is volatile in them."""

import ast
from pathlib import Path

import nbformat

from r4t_utils.run.files import write_text
from r4t_utils.run.run import DEFAULTS
from r4t_utils.settings import SettingsError

VOLATILE = ("papermill", "execution", "widgets", "ExecuteTime")


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook; raises SettingsError where it is missing or is none."""
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises errors of many kinds
        reason = " ".join(str(error).split())
        raise SettingsError(f"{path.name} cannot be read as a notebook ({reason}); restore or run it") from None


def write(path: Path, notebook: nbformat.NotebookNode) -> None:
    """Writes a notebook in one stroke, without run stamps, injected parameters and widget state."""
    injected = [cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    notebook.cells = [cell for cell in notebook.cells if cell not in injected]
    for holder in (notebook, *notebook.cells):
        for key in VOLATILE:
            holder.metadata.pop(key, None)
        if holder.metadata.get("tags") == []:
            del holder.metadata["tags"]
    ran = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.execution_count]
    for count, cell in enumerate(ran, 1):  # as if the injected parameters had not been a cell of their own
        cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
    write_text(path, nbformat.writes(notebook) + "\n")


def with_outputs(source: Path, executed: Path) -> str:
    """The text of a notebook as it is now, with the outputs that it has in its executed copy.

    Prose and comments may have changed since that ran, since they leave a stage fresh. Raises SettingsError where the
    code cells are not the same in number.
    """
    now, ran = read(source), read(executed)
    pairs = [[cell for cell in notebook.cells if cell.cell_type == "code"] for notebook in (now, ran)]
    if len(pairs[0]) != len(pairs[1]):
        counts = f"{len(pairs[0])} code cells and its executed copy {len(pairs[1])}"
        raise SettingsError(f"{source.name} has {counts}; run it again")
    for cell, done in zip(*pairs):
        cell.outputs, cell.execution_count = done.outputs, done.execution_count
    return nbformat.writes(now) + "\n"


def was_run(path: Path) -> bool:
    """Whether every code cell of a notebook has been run, without an error."""
    if not path.is_file():
        return False
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    failed = any(output.output_type == "error" for cell in cells for output in cell.outputs)
    return not failed and all(cell.execution_count for cell in cells)


def require_parameters(path: Path) -> None:
    """Raises SettingsError unless a notebook's parameters cell sets the five parameters to plain literals."""
    from papermill import inspect_notebook

    read(path)
    found = inspect_notebook(str(path))
    try:
        literal = [ast.literal_eval(parameter["default"]) for parameter in found.values()]
    except (SyntaxError, ValueError):
        literal = []
    if sorted(found) != sorted(DEFAULTS) or len(literal) != len(found):
        names = ", ".join(found) or "nothing"
        rule = f"it must set {', '.join(DEFAULTS)} to plain literals; restore the cell"
        raise SettingsError(f"{path.name}: its parameters cell sets {names}; {rule}")
