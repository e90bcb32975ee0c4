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
def test_a_run_leaves_the_committed_notebooks_as_they_are(toy):
    committed = paths.notebook(FIRST)
    before = committed.read_bytes()
    for run in (Run.checked(), Run.checked(seed=1)):
        kernel.execute(FIRST, run)
        assert committed.read_bytes() == before
        assert notebooks.was_run(run.executed(FIRST)) and run.executed(FIRST).is_relative_to(toy / "artifacts")
    assert len(list((toy / "artifacts").rglob("*.ipynb"))) == 2


def test_outputs_join_the_notebook_as_it_is_now(tmp_path):
    """Prose and comments that were edited after a run are kept."""
    run, prose = tmp_path / "run.ipynb", {"cell_type": "markdown", "id": "p", "metadata": {}, "source": "old"}
    printed = {"output_type": "stream", "name": "stdout", "text": "3\n"}
    done = {**toys.code("a", "print(3)"), "execution_count": 1, "outputs": [printed]}
    run.write_text(json.dumps(toys.notebook([prose, done])))
    now = toys.notebook([{**prose, "source": "new"}, toys.code("a", "print(3)  # why"), {**prose, "id": "q"}])
    (tmp_path / "now.ipynb").write_text(json.dumps(now))
    found = json.loads(notebooks.with_outputs(tmp_path / "now.ipynb", run))["cells"]
    assert [cell["id"] for cell in found] == ["p", "a", "q"] and found[0]["source"] == ["new"]
    assert "".join(found[1]["source"]) == "print(3)  # why" and found[1]["execution_count"] == 1
    assert found[1]["outputs"][0]["text"] == ["3\n"]
    (tmp_path / "now.ipynb").write_text(json.dumps(toys.notebook([*now["cells"], toys.code("b", "1")])))
    with pytest.raises(SettingsError, match="now.ipynb has 2 code cells and its executed copy 1; run it again"):
        notebooks.with_outputs(tmp_path / "now.ipynb", run)
