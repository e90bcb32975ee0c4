"""Hygiene of the committed notebooks: a rule a line in `faults`, each shown to be able to fail."""

import ast
import base64
import copy
import json
import re
import runpy
from types import SimpleNamespace

import pytest
import toys

from r4t_utils.run import blocks, notebooks, paths, profiles
from r4t_utils.run.run import DEFAULTS
from r4t_utils.run.stage import STAGES

pictures = SimpleNamespace(**runpy.run_path(str(paths.ROOT / "docs" / "pictures.py")))
FOUND = sorted((paths.ROOT / "notebooks").glob("*.ipynb"))
MACHINE = re.compile(rf"/(home|root|tmp|Users)/|site-packages|{re.escape(str(paths.ROOT))}")


def source(cell: dict) -> str:
    return "".join(cell["source"])


def tagged(notebook: dict, tag: str) -> list[dict]:
    """The code cells that carry a tag."""
    return [c for c in notebook["cells"] if c["cell_type"] == "code" and tag in c["metadata"].get("tags", [])]


def parameters(notebook: dict) -> dict:
    """Names and literal values in the parameters cell; {} unless there is exactly one."""
    cells = tagged(notebook, "parameters")
    if len(cells) != 1:
        return {}
    return {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(source(cells[0])).body}


def checked(notebook):
    """The cells whose output nbval compares."""
    return [c for c in tagged(notebook, "nbval-check-output") if c["outputs"]]


def faults(notebook: dict, size: int) -> list[str]:
    cells = notebook["cells"]
    code = [c for c in cells if c["cell_type"] == "code"]
    prose = [c for c in cells if c["cell_type"] == "markdown"]
    outputs = [o for c in code for o in c["outputs"]]
    images = [o for o in outputs if any(kind.startswith("image/") for kind in o.get("data", {}))]
    text = json.dumps(outputs)
    rules = {
        "an identifier for every cell": all(c.get("id") for c in cells),
        "one parameters cell with the defaults": parameters(notebook) == DEFAULTS,
        "at most 25 lines a code cell": all(len(source(c).splitlines()) <= 25 for c in code),
        "every code cell run, in order": [c["execution_count"] for c in code] == [*range(1, len(code) + 1)],
        "no empty code cell": all(source(c).strip() for c in code),
        "a cell whose output is checked": bool(checked(notebook)),
        "stored output in every checked cell": checked(notebook) == tagged(notebook, "nbval-check-output"),
        "no figure in a checked cell": not any(o in images for c in checked(notebook) for o in c["outputs"]),
        "no error": not any(o["output_type"] == "error" for o in outputs),
        "no widgets": "widget" not in text and "widgets" not in notebook["metadata"],
        "no run stamps": not any(
            key in holder["metadata"] for holder in (notebook, *cells) for key in notebooks.VOLATILE
        ),
        "no injected parameters": not tagged(notebook, "injected-parameters"),
        "PNG figures with alt text": all(
            "image/png" in o["data"] and o["metadata"].get("image/png", {}).get("alt") for o in images
        ),
        "alt text for images in prose": not any(
            re.search(r"!\[\s*\]|<img(?![^>]*\balt=\"[^\"])", source(c)) for c in prose
        ),
        "three prose cells for five code cells": len(prose) >= 0.6 * len(code),
        "no folder of the machine in an output": not MACHINE.search(text),
        "tables by show": not re.search(r"class=.{1,3}dataframe", text),
        "nothing cut off": not re.search(r"\.\.\.</t[dh]>|>\.\.\.<", text),
        "an equation": any("$$" in source(c) for c in prose),
        "a picture behind the first cell": bool(images) or any("![" in source(c) for c in prose[1:]),
        "a way on to the next notebook": ".ipynb)" in source(cells[0]),
        "something to try": any(source(c).startswith("**Try this.**") for c in prose),
        "three sentences of what we found": any(
            len(re.findall(r"[.!?](?:\s|$)", told.partition("**The paper**")[0])) >= 3
            for told in (source(c).partition("**What we found.**")[2] for c in prose)
        ),
        "what remains open": any("**What remains open**" in source(c) for c in prose),
        "less than 1 MB": size < 1_000_000,
    }
    return [rule for rule, holds in rules.items() if not holds]


def test_there_are_exactly_the_six():
    assert [p.stem for p in FOUND] == list(STAGES)


def test_what_notebooks_tell_of_recorded_results_is_what_is_recorded():
    told = [source(c) for path in FOUND for c in notebooks.read(path).cells if c["cell_type"] == "markdown"]
    badges_and_costs, others = 2 * len(STAGES), 18  # seeds, ablations, three trials, 13 functions
    assert sum(text.count("<!-- end ") for text in told) == badges_and_costs + others
    assert [blocks.filled(text, paths.ROOT / "results/cpu/sample") for text in told] == told


def test_every_equation_of_the_paper_is_typeset_and_named():
    prose = [source(c) for path in FOUND for c in notebooks.read(path).cells if c["cell_type"] == "markdown"]
    for number in range(1, 10):
        named = [text for text in prose if re.search(rf"\(Eq\. {number}[);]", text)]
        assert any("$$" in text for text in named), f"Eq. {number}"


@pytest.mark.parametrize("path", FOUND, ids=lambda p: p.stem)
def test_a_committed_notebook_keeps_every_rule(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert faults(notebook, path.stat().st_size) == []
    print(f"{path.stem}: nbval compares the output of {len(checked(notebook))} cells")


def assigned(notebook) -> dict[str, list[str]]:
    """What every single name is assigned in a notebook, as source."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse("\n".join(source(c) for c in notebook["cells"] if c["cell_type"] == "code"))):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                pair = isinstance(node.value, ast.Tuple) and len(names) == len(node.value.elts)
                values = node.value.elts if pair else [node.value] * len(names)
                for name, value in zip(names, values, strict=True):
                    if isinstance(name, ast.Name):
                        found.setdefault(name.id, []).append(ast.unparse(value))
    return found


@pytest.mark.parametrize("path", FOUND, ids=lambda p: p.stem)
def test_symbols_mean_what_they_mean_in_the_paper(path):
    symbols = {"d": r"\.d$", "k": r"\.k$", "L": r"\.slots$", "z_q": r"\.text\(|\.z_q"}
    for name, values in assigned(json.loads(path.read_text(encoding="utf-8"))).items():
        if name in symbols:
            assert all(re.search(symbols[name], value) for value in values), f"{name} = {values}"


@pytest.mark.parametrize("path", [*FOUND, paths.ROOT / "README.md"], ids=lambda p: p.stem)
def test_every_command_with_settings_is_one_that_would_start(path):
    text = path.read_text() if path.suffix == ".md" else "\n".join(map(source, notebooks.read(path).cells))
    given = re.findall(r'`make [^`]*SET="([^`]*)"`', text)
    assert given
    for overrides in given:
        profiles.load("cpu", overrides)


def test_a_notebook_opens_with_its_stage_lit():
    for path in FOUND:
        assert f"](../docs/pictures/{path.stem}.svg)" in source(notebooks.read(path).cells[0])


def test_figures_shown_are_those_recorded():
    recorded = {base64.b64encode(png.read_bytes()).decode() for png in (paths.ROOT / "results").rglob("*.png")}
    cells = [cell for path in FOUND for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    shown = [o["data"].get("image/png") for c in cells for o in c.get("outputs", []) if "data" in o]
    assert {"".join(png).strip() for png in shown if png} <= recorded


def test_pictures_are_those_that_the_code_draws():
    drawn, folder = pictures.drawn(), paths.ROOT / "docs" / "pictures"
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == drawn
    assert all('aria-label="' in picture for picture in drawn.values())


@pytest.fixture
def good():
    figure = {
        "output_type": "display_data",
        "data": {"image/png": "iVBOR"},
        "metadata": {"image/png": {"alt": "a line that falls"}},
    }
    printed = {"output_type": "stream", "name": "stdout", "text": "3 items"}
    parameters = toys.PARAMETERS.replace("smoke", "cpu")
    code = [
        toys.code("a", parameters, ["parameters"]),
        toys.code("b", "1"),
        toys.code("c", "2", ["nbval-check-output"]),
    ]
    for count, (cell, outputs) in enumerate(zip(code, ([], [figure], [printed]), strict=True), 1):
        cell.update(execution_count=count, outputs=outputs)
    told = (
        "![a map](map.png)\n[next](2.ipynb)\n\n$$x = 1$$",
        "**What we found.** It holds. It costs little. More is to come. **What remains open** is why.",
        "**Try this.**",
    )
    prose = [{"cell_type": "markdown", "id": f"x{i}", "metadata": {}, "source": text} for i, text in enumerate(told)]
    return toys.notebook([prose[0], *code, *prose[1:]])


def test_a_good_notebook_has_no_faults(good):
    assert faults(good, 1000) == []
    assert faults(good, 1_000_000) == ["less than 1 MB"]


def edit(cell, **changes):
    return lambda notebook: notebook["cells"][cell].update(changes)


@pytest.mark.parametrize(
    "spoil, rule",
    [
        (lambda n: n["cells"][0].pop("id"), "an identifier for every cell"),
        (edit(1, source=toys.PARAMETERS), "one parameters cell with the defaults"),
        (edit(1, metadata={}), "one parameters cell with the defaults"),
        (edit(2, source="1\n" * 26), "at most 25 lines a code cell"),
        (edit(2, source=" "), "no empty code cell"),
        (edit(2, execution_count=None), "every code cell run, in order"),
        (edit(2, execution_count=3), "every code cell run, in order"),
        (edit(3, metadata={}), "a cell whose output is checked"),
        (edit(2, metadata={"tags": ["nbval-check-output"]}), "no figure in a checked cell"),
        (
            edit(1, metadata={"tags": ["parameters", "nbval-check-output"]}),
            "stored output in every checked cell",
        ),
        (edit(2, outputs=[{"output_type": "error", "ename": "E"}]), "no error"),
        (
            edit(
                2,
                outputs=[{"output_type": "display_data", "data": {"application/vnd.jupyter.widget-view+json": {}}}],
            ),
            "no widgets",
        ),
        (lambda n: n["metadata"].update(widgets={}), "no widgets"),
        (lambda n: n["metadata"].update(papermill={}), "no run stamps"),
        (edit(2, metadata={"execution": {}}), "no run stamps"),
        (edit(2, metadata={"tags": ["injected-parameters"]}), "no injected parameters"),
        (
            edit(2, outputs=[{"output_type": "display_data", "data": {"image/png": "i"}, "metadata": {}}]),
            "PNG figures with alt text",
        ),
        (
            edit(2, outputs=[{"output_type": "display_data", "data": {"image/svg+xml": "i"}, "metadata": {}}]),
            "PNG figures with alt text",
        ),
        (edit(0, source="![](map.png)"), "alt text for images in prose"),
        (edit(0, source='<img src="map.png">'), "alt text for images in prose"),
        (lambda n: [n["cells"].pop() for _ in "ab"], "three prose cells for five code cells"),
        (
            edit(2, outputs=[{"output_type": "display_data", "data": {"text/html": "<table class='dataframe'>"}}]),
            "tables by show",
        ),
        (
            edit(2, outputs=[{"output_type": "display_data", "data": {"text/html": "<td>a long ...</td>"}}]),
            "nothing cut off",
        ),
        (edit(0, source="![a map](map.png) [next](2.ipynb)"), "an equation"),
        (edit(2, outputs=[]), "a picture behind the first cell"),
        (edit(0, source="![a map](map.png) $$1$$"), "a way on to the next notebook"),
        (edit(5, source="**What we found.** Nothing."), "something to try"),
        (edit(4, source="**What we found.** It holds. It costs little. That is all."), "what remains open"),
        (edit(4, source="**What we found.** Nothing. At all. **The paper** more."), "three sentences of what we found"),
        (
            edit(2, outputs=[{"output_type": "stream", "text": "/home/somebody/x"}]),
            "no folder of the machine in an output",
        ),
    ],
)
def test_each_rule_can_fail(good, spoil, rule):
    spoiled = copy.deepcopy(good)
    spoil(spoiled)
    assert rule in faults(spoiled, 1000)
