import json

import papermill
import pytest
import toys

from r4t_utils.run import paths, publish

FIRST = "01_data_curation"


def test_publishing_copies_outputs_by_cell(toy):
    committed, executed = paths.notebook(FIRST), toy / "executed.ipynb"
    papermill.execute_notebook(committed, executed, {"seed": 0}, progress_bar=False, cwd=paths.ROOT)
    notebook = publish.merged(executed, committed)
    assert [c["id"] for c in notebook["cells"]] == ["parameters", "begin", "work-0", "finish"]
    assert [c["execution_count"] for c in notebook["cells"]] == [1, 2, 3, 4]
    assert "".join(notebook["cells"][3]["outputs"][0]["text"]) == "written\n"
    assert notebook["cells"][3]["metadata"]["tags"] == ["nbval-check-output"]
    publish.write(committed, notebook)
    assert publish.merged(executed, committed) == notebook


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda n: n["cells"][3].update(source="1"), "has changed since"),
        (lambda n: n["cells"].pop(3), "not those of the committed"),
        (lambda n: n["cells"][3].update(outputs=[{"output_type": "error"}]), "failed or was not run"),
        (lambda n: n["cells"][3].update(execution_count=None), "failed or was not run"),
        (lambda n: n["cells"][1].update(source="seed = 1"), "not with its defaults"),
    ],
)
def test_publishing_refuses_what_is_not_the_committed_notebook(toy, tmp_path, spoil, message):
    committed = paths.notebook(FIRST)
    ran = json.loads(committed.read_text())
    ran["cells"].insert(1, toys.code("injected", "seed = 0", ["injected-parameters"]))
    for count, cell in enumerate(ran["cells"], 1):
        cell["execution_count"] = count
    executed = tmp_path / committed.name
    executed.write_text(json.dumps(ran))
    publish.merged(executed, committed)
    spoil(ran)
    executed.write_text(json.dumps(ran))
    with pytest.raises(publish.PublishError, match=message):
        publish.merged(executed, committed)


def test_publishing_without_a_whole_run_is_an_error_and_changes_nothing(toy, capsys):
    assert publish.main() == 1
    assert f"error: {FIRST}.ipynb cannot be read" in capsys.readouterr().err
    committed, executed = paths.notebook(FIRST), paths.executed(*publish.DEFAULT, FIRST)
    executed.parent.mkdir(parents=True)
    papermill.execute_notebook(committed, executed, {"seed": 0}, progress_bar=False, cwd=paths.ROOT)
    before = committed.read_bytes()
    assert publish.main() == 1
    assert "02_rl_fanout.ipynb cannot be read" in capsys.readouterr().err
    assert committed.read_bytes() == before
