"""Notebooks in real kernels: success, failure, death and interruption."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import papermill
import psutil
import pytest
import toys

from r4t_utils.run import kernel as execution
from r4t_utils.run import paths, pipeline
from r4t_utils.run.run import context

FIRST, SECOND = "01_data_curation", "02_rl_fanout"
BOTH = [FIRST, SECOND]


def test_two_notebooks_run_with_times_memory_and_clean_outputs(toy, capfd):
    assert pipeline.main(["--profile", "smoke", "--seed", "3"]) == 0
    out, err = capfd.readouterr()
    assert f"[1/2] {FIRST}: running (it has not been made)" in out and "peak memory, MB" in out
    assert re.fullmatch(r"    toy: 3 in [\d.]+ s\n", err)
    results = paths.run_results("smoke", "sample")
    rows = list(csv.DictReader((results / "run.csv").open()))
    assert [row["stage"] for row in rows] == BOTH
    assert all(float(row["seconds"]) > 0 and float(row["peak_memory_mb"]) > 20 for row in rows)
    manifest = json.loads((results / "manifest.json").read_text())
    assert manifest["seed"] == 3 and list(manifest["stages"]) == BOTH
    assert manifest["settings"] == context("smoke").settings.section_dict()
    assert json.loads((results / "toy.json").read_text()) == {"seed": 3}
    text = paths.executed("smoke", "sample", FIRST).read_text()
    assert re.search(r"toy: 3 in [\d.]+ s", text) and "written" in text
    for stamp in ("start_time", 'papermill"', "iopub", str(toy)):
        assert stamp not in text
    assert not list(toy.rglob("*running*"))


def test_a_failure_keeps_the_earlier_run_and_shows_the_error(toy, capsys):
    for stage in BOTH:
        toys.run_in_process(stage, context("smoke"))
    before = toys.contents(toy / "results", toy / "artifacts")
    toys.save(toy / "notebooks", FIRST, "stage.record('toy', {}); raise RuntimeError('first line\\nthe last line')")
    capsys.readouterr()
    assert pipeline.main(["--profile", "smoke"]) == 1
    out, err = capsys.readouterr()
    assert "error: 01_data_curation failed: RuntimeError: the last line\n" in err and "Traceback" not in err
    failed = paths.failed("smoke", "sample", FIRST)
    assert any(
        o["output_type"] == "error" for c in json.loads(failed.read_text())["cells"] for o in c.get("outputs", [])
    )
    after = toys.contents(toy / "results", toy / "artifacts")
    assert after == {**before, str(failed): failed.read_bytes()}
    assert "02_rl_fanout: running" not in out

    toys.save(toy / "notebooks", FIRST, toys.FIRST)
    assert pipeline.main(["--profile", "smoke"]) == 0  # the earlier artifacts are still fresh
    assert "Nothing to do" in capsys.readouterr().out


def test_the_data_folder_travels_by_the_environment_alone(toy, monkeypatch):
    monkeypatch.setattr("r4t_utils.run.run.datasets.label", lambda *_: "polyvore", raising=False)
    run, seen = context("smoke", "polyvore", str(toy)), {}

    def look(*_, parameters, **__):
        seen.update(parameters, variable=os.environ["R4T_DATA_DIR"])
        raise ValueError("seen")

    monkeypatch.setattr(papermill, "execute_notebook", look)
    with pytest.raises(execution.StageFailed, match="ValueError: seen"):
        execution.execute(FIRST, run)
    assert seen.pop("variable") == str(toy)
    assert seen == {"profile": "smoke", "dataset": "polyvore", "data_dir": "", "seed": 0, "overrides": ""}
    assert "R4T_DATA_DIR" not in os.environ


def test_a_kernel_that_dies_is_a_failure_too(toy, capsys):
    toys.save(toy / "notebooks", FIRST, "import os; os.kill(os.getpid(), 9)")
    assert pipeline.main(["--profile", "smoke"]) == 1
    assert f"{FIRST} failed: DeadKernelError" in capsys.readouterr().err


@pytest.mark.parametrize("number, group", [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGKILL, False)])
def test_an_interrupted_run_leaves_no_kernel_and_what_was_there(toy, number, group):
    toys.run_in_process(FIRST, context("smoke"))
    before = toys.contents(toy / "results", toy / "artifacts")
    toys.save(toy / "notebooks", FIRST, "stage.path('half.json').write_text('{'); import time; time.sleep(600)")
    process = subprocess.Popen(
        [sys.executable, "-m", "r4t_utils.run.pipeline", "--profile", "smoke", "--only", "01"],
        cwd=paths.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a test run in the background ignores Ctrl-C, and its children would inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    half, began = None, time.monotonic()
    while half is None and time.monotonic() - began < 30:
        half = next((toy / "artifacts").rglob("half.json"), None)
        time.sleep(0.1)
    kernels = psutil.Process(process.pid).children(recursive=True)
    assert half and kernels
    (os.killpg if group else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(kernels, timeout=10)
    assert not alive
    after = toys.contents(toy / "results", toy / "artifacts")
    assert {name: after[name] for name in before} == before
    if number != signal.SIGKILL:
        assert all(".partial/" in name for name in after if name not in before)
