"""Notebooks as files: what is volatile goes, and executed outputs exist once."""

import json

import pytest
import toys

from r4t_utils.run import kernel, notebooks, paths
from r4t_utils.run.run import Run
from r4t_utils.settings import SettingsError

FIRST = "01_data_curation"


def test_writing_drops_stamps_widgets_and_injected_parameters(tmp_path):
    result = {"output_type": "execute_result", "data": {"text/plain": "3"}, "metadata": {}, "execution_count": 3}
    cells = [toys.code("a", "x = 1"), toys.code("b", "x = 2", ["injected-parameters"]), toys.code("c", "x + 1")]
    for count, cell in enumerate(cells, 1):
        cell.update(execution_count=count)
        cell["metadata"].update(papermill={"start_time": "now"}, execution={"iopub": "now"})
    cells[2]["outputs"] = [result]
    raw = toys.notebook(cells)
    raw["metadata"].update(papermill={}, widgets={})
    path = tmp_path / "toy.ipynb"
    path.write_text(json.dumps(raw))
    notebooks.write(path, notebooks.read(path))
    found = json.loads(path.read_text())
    assert [cell["id"] for cell in found["cells"]] == ["a", "c"]
    assert [cell["execution_count"] for cell in found["cells"]] == [1, 2]
    assert found["cells"][1]["outputs"][0]["execution_count"] == 2
    assert not any(word in path.read_text() for word in ("papermill", "widgets", "iopub"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": 3}'])
def test_what_is_no_notebook_is_named(tmp_path, text):
    (tmp_path / "toy.ipynb").write_text(text)
    with pytest.raises(SettingsError, match="toy.ipynb cannot be read as a notebook .*restore") as error:
        notebooks.read(tmp_path / "toy.ipynb")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes, whole",
    [
        ({}, True),
        ({"execution_count": None}, False),
        ({"outputs": [{"output_type": "error", "ename": "E", "evalue": "e", "traceback": []}]}, False),
    ],
)
def test_a_notebook_was_run_when_every_cell_was_and_none_failed(tmp_path, changes, whole):
    path, cell = tmp_path / "toy.ipynb", {**toys.code("a", "1"), "execution_count": 1} | changes
    assert not notebooks.was_run(path)
    path.write_text(json.dumps(toys.notebook([cell])))
    assert notebooks.was_run(path) == whole


@pytest.mark.training
def test_the_default_run_leaves_its_outputs_in_notebooks_and_nowhere_else(toy):
    run, committed = Run.checked(), paths.notebook(FIRST)
    sources = [cell.source for cell in notebooks.read(committed).cells]
    kernel.execute(FIRST, run)
    done = notebooks.read(committed)
    assert [cell.source for cell in done.cells] == sources  # no injected cell either
    assert [cell.execution_count for cell in done.cells] == [1, 2, 3, 4]
    assert done.cells[3].outputs[0].text.endswith("written\n")
    assert [p.name for p in toy.rglob("*.ipynb") if FIRST in p.name] == [f"{FIRST}.ipynb"]
    kernel.execute(FIRST, other := Run.checked(seed=1))
    assert notebooks.read(committed) == done
    assert notebooks.was_run(other.executed(FIRST)) and other.executed(FIRST).is_relative_to(toy / "artifacts")


@pytest.mark.training
def test_a_notebook_that_was_edited_while_it_ran_keeps_the_edit(toy):
    path = paths.notebook(FIRST)
    edit = f"path = {str(path)!r}\ntext = open(path).read().replace('toy', 'mine')\nopen(path, 'w').write(text)"
    toys.save(toy / "notebooks", FIRST, edit, toys.FIRST)
    edited = path.read_text().replace("toy", "mine")
    with pytest.raises(kernel.StageFailed, match=f"{FIRST}.ipynb was edited while it ran; run it again"):
        kernel.execute(FIRST, Run.checked())
    assert path.read_text() == edited
    assert notebooks.was_run(kernel.failed(FIRST, Run.checked()))
