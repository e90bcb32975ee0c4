"""The README: its generated blocks are those of the recorded results, and its example runs."""

import re
import runpy
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from retrievers import untrained

from r4t_utils.run import paths

readme = SimpleNamespace(**runpy.run_path(str(paths.ROOT / "docs" / "readme.py")))
README = (paths.ROOT / "README.md").read_text()
COMMITTED = {heading: paths.ROOT.joinpath("results", *run) for heading, run in readme.RUNS.items()}


def test_generated_blocks_are_those_of_the_results():
    if shutil.which("git") is None:
        pytest.skip("git is missing, which would tell whether results were recorded anew here")
    changed = subprocess.run(
        ["git", "status", "--porcelain", *COMMITTED.values()], cwd=paths.ROOT, text=True, capture_output=True
    )
    if changed.returncode or changed.stdout:
        pytest.skip("results were recorded anew here; `make readme` draws the README from them")
    assert readme.filled(README, COMMITTED) == README


def test_both_runs_stand_beside_the_paper():
    lines = readme.claims_block(COMMITTED).splitlines()
    assert lines[0].count("[95 %]") == 2 and len(lines) == 2 + 7
    assert all(line.count("**") == 4 for line in lines[2:])


def test_a_missing_block_is_an_error():
    with pytest.raises(ValueError, match="blocks named 'claims'"):
        readme.filled("no block here", COMMITTED)


def test_the_example_runs(tmp_path, capsys):
    example = re.search(r"```python\n(.*?)```", README, re.S)[1]
    assert len([line for line in example.splitlines() if line]) <= 5
    untrained().save(tmp_path / "oar")
    names = {}
    exec(example.replace("artifacts/cpu/sample/04_diffusion_training/oar", str(tmp_path / "oar")), names)
    results = names["results"]
    assert len(results) == 10 and results.id.is_unique
    assert results.distance.between(0, 2).all()
    assert results.title[0] in capsys.readouterr().out
