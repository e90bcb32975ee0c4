"""The README: its generated blocks are those of the recorded results, and its example runs."""

import json
import re
import runpy
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from retrievers import untrained

from r4t_utils.evaluation import verdicts
from r4t_utils.evaluation.claims import CLAIMS, REPRODUCED
from r4t_utils.run import paths
from r4t_utils.run.stage import STAGES

readme = SimpleNamespace(**runpy.run_path(str(paths.ROOT / "docs" / "readme.py")))
README = (paths.ROOT / "README.md").read_text()
COMMITTED = {heading: paths.ROOT.joinpath("results", *run) for heading, run in readme.RUNS.items()}


def test_generated_blocks_are_those_of_the_results():
    if old := [
        h for h, folder in COMMITTED.items() if (folder / "claims.json").is_file() and not verdicts.read(folder)
    ]:
        pytest.skip(f"{' and '.join(old)}: recorded by an earlier version; record anew, then `make readme`")
    if shutil.which("git") is None:
        pytest.skip("git is missing, which would tell whether results were recorded anew here")
    changed = subprocess.run(
        ["git", "status", "--porcelain", *COMMITTED.values()], cwd=paths.ROOT, text=True, capture_output=True
    )
    if changed.returncode or changed.stdout:
        pytest.skip("results were recorded anew here; `make readme` draws the README from them")
    assert readme.filled(README, COMMITTED) == README


def test_the_verdicts_that_another_machine_should_find_are_clear():
    found = {row["id"]: row for row in verdicts.read(COMMITTED["synthetic corpus"])}
    if not found:
        pytest.skip("the default run is not recorded by this version")
    assert {found[name]["verdict"] for name in REPRODUCED} <= {"holds", "does not hold"}


def write(folder, alone="holds", **changes):
    """A recorded run with one claim and its costs."""
    row = {"id": "C2", "paper": "+2", "ours": "+1 [+0, +2]", "seeds": 3, "alone": alone, "verdict": alone} | changes
    folder.mkdir()
    (folder / "claims.json").write_text(json.dumps([row]))
    stages = {stage: {"seconds": 60, "peak_memory_mb": 9} for stage in STAGES}
    (folder / "manifest.json").write_text(json.dumps({"stages": stages}))


def test_a_claim_has_a_column_per_data_set_recorded_or_not(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", seeds=1, verdict="undecided")
    runs = {name: tmp_path / name for name in "abc"}
    head, _, *lines = readme.claims_block(runs).splitlines()
    assert "| a (3 seeds) [95 %] | b (1 seed) [95 %] | c (not recorded) [95 %] |" in head
    assert len(lines) == len(CLAIMS)
    said = "**holds**: +1 [+0, +2] | **undecided** (1 of 3 seeds; by itself: holds): +1 [+0, +2] | not recorded |"
    assert lines[1].endswith(f"| +2 | {said}") and lines[0].endswith("not recorded | not recorded | not recorded |")
    assert readme.cost_block(runs).splitlines()[-1] == "| all | 6.0 | 9 | 6.0 | 9 |"


def test_a_missing_block_is_an_error():
    with pytest.raises(ValueError, match="blocks named 'claims'"):
        readme.filled("no block here", COMMITTED)


def test_the_example_runs(tmp_path, capsys):
    example = re.search(r"```python\n(.*?)```", README, re.S)[1]
    assert len([line for line in example.splitlines() if line]) <= 5
    untrained().save_pretrained(tmp_path / "oar")
    names = {}
    exec(re.sub(r'"artifacts/[^"]+"', repr(str(tmp_path / "oar")), example), names)
    results = names["results"]
    assert len(results) == 10 and results.id.is_unique
    assert results.distance.between(0, 2).all()
    assert results.title[0] in capsys.readouterr().out
