import json

import papermill
import pytest
import toys

from r4t_utils import paths, publish

FIRST = "01_data_curation"


def test_publishing_copies_outputs_by_cell(toy):
    committed, executed = paths.notebook(FIRST), toy / "executed.ipynb"
    papermill.execute_notebook(committed, executed, {"seed": 0}, progress_bar=False, cwd=paths.ROOT)
    assert publish.publish_one(executed, committed) == 4
    notebook = json.loads(committed.read_text())
    assert [c["id"] for c in notebook["cells"]] == ["parameters", "begin", "work-0", "finish"]
    assert [c["execution_count"] for c in notebook["cells"]] == [1, 2, 3, 4]
    assert "".join(notebook["cells"][3]["outputs"][0]["text"]) == "written\n"
    assert notebook["cells"][3]["metadata"]["tags"] == ["nbval-check-output"]
    before = committed.read_bytes()
    assert publish.publish_one(executed, committed) == 4 and committed.read_bytes() == before


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
    executed, before = tmp_path / committed.name, committed.read_bytes()
    executed.write_text(json.dumps(ran))
    publish.publish_one(executed, committed)
    committed.write_bytes(before)
    spoil(ran)
    executed.write_text(json.dumps(ran))
    with pytest.raises(publish.PublishError, match=message):
        publish.publish_one(executed, committed)
    assert committed.read_bytes() == before


def test_publishing_without_a_run_is_an_error(toy, capsys):
    assert publish.main() == 1
    assert f"error: {FIRST}.ipynb cannot be read" in capsys.readouterr().err
