"""Notebooks in real kernels: success, failure, death and interruption."""

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

from r4t_utils.run import kernel, paths, pipeline, stage
from r4t_utils.run.run import Run

pytestmark = pytest.mark.training  # each test runs kernels
FIRST, SECOND = "01_data_curation", "02_rl_fanout"
BOTH = [FIRST, SECOND]


def test_two_notebooks_run_with_times_memory_and_clean_outputs(toy, capfd):
    assert pipeline.main(["--profile", "smoke", "--seed", "3"]) == 0
    out, err = capfd.readouterr()
    assert f"[1/2] {FIRST}: running (it has not been made)" in out and re.search(
        r"    [\d.]+ s, peak memory \d+ MB\n", out
    )
    assert re.fullmatch(r"    toy: 3 in [\d.]+ s\n", err)
    results = Run.checked("smoke", seed=3).results
    facts = json.loads((results / "manifest.json").read_text())
    assert list(facts["stages"]) == BOTH
    for name, made in facts["stages"].items():
        assert made["seconds"] > 0 and made["peak_memory_mb"] > 20
        assert made["seed"] == 3 and made["settings"] == stage.declared_dict(Run.checked("smoke").settings, name)
    assert json.loads((results / "toy.json").read_text()) == {"seed": 3}
    text = Run.checked("smoke", seed=3).executed(FIRST).read_text()
    assert re.search(r"toy: 3 in [\d.]+ s", text) and "written" in text
    for stamp in ("start_time", 'papermill"', "iopub", str(toy)):
        assert stamp not in text
    assert not list(toy.rglob("*running*"))


def test_a_failure_keeps_the_earlier_run_and_shows_the_error(toy, capsys):
    for name in BOTH:
        pipeline._record(Run.checked("smoke"), name, *toys.run_in_process(name, Run.checked("smoke")))
    before = toys.contents(toy / "results", toy / "artifacts")
    toys.save(toy / "notebooks", FIRST, "stage.record('toy', {}); raise RuntimeError('first line\\nthe last line')")
    capsys.readouterr()
    assert pipeline.main(["--profile", "smoke"]) == 1
    out, err = capsys.readouterr()
    assert "error: 01_data_curation failed: RuntimeError: the last line\n" in err and "Traceback" not in err
    failed = kernel.failed(FIRST, Run.checked("smoke"))
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
    monkeypatch.setattr("r4t_utils.run.run.sources.label", lambda *_: "polyvore", raising=False)
    run, seen = Run.checked("smoke", "polyvore", str(toy)), {}

    def look(*_, parameters, **__):
        seen.update(parameters, variable=os.environ["R4T_DATA_DIR"])
        raise ValueError("seen")

    monkeypatch.setattr(papermill, "execute_notebook", look)
    with pytest.raises(kernel.StageFailed, match="ValueError: seen"):
        kernel.execute(FIRST, run)
    assert seen.pop("variable") == str(toy)
    assert seen == {"profile": "smoke", "dataset": "polyvore", "data_dir": "", "seed": 0, "overrides": ""}
    assert "R4T_DATA_DIR" not in os.environ


def test_a_kernel_that_dies_is_a_failure_too(toy, capsys):
    toys.save(toy / "notebooks", FIRST, "import os; os.kill(os.getpid(), 9)")
    assert pipeline.main(["--profile", "smoke"]) == 1
    assert f"{FIRST} failed: DeadKernelError" in (err := capsys.readouterr().err) and "if memory ran out" in err


@pytest.mark.parametrize("name", stage.STAGES)
def test_where_memory_ran_out_the_setting_to_lower_is_named(name):
    class OutOfMemoryError(Exception):
        pass

    told = kernel._memory_remedy(name, OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    for setting in re.findall(r"lower (\w+)\.(\w+)", told):
        assert hasattr(getattr(Run.checked().settings, setting[0]), setting[1])
    assert "if memory ran out: lower " in told and kernel._memory_remedy(name, ValueError("k=0")) == ""


@pytest.mark.parametrize("number, group", [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGKILL, False)])
def test_an_interrupted_run_leaves_no_kernel_and_what_was_there(toy, number, group):
    toys.run_in_process(FIRST, Run.checked("smoke"))
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


@pytest.mark.parametrize("folder", ["a folder with spaces", "dossier été ünï"])
def test_a_run_in_an_oddly_named_folder(tmp_path, monkeypatch, folder):
    for name in ("artifacts", "results", "notebooks"):
        monkeypatch.setenv(f"R4T_{name.upper()}", str(tmp_path / folder / name))
    toys.save(tmp_path / folder / "notebooks", FIRST, toys.FIRST)
    kernel.execute(FIRST, Run.checked("smoke"))
    assert (Run.checked("smoke").folder(FIRST) / "numbers.json").is_file()


def test_a_kernel_takes_this_environment_and_nothing_of_the_users(toy, tmp_path, monkeypatch):
    """Another environment's kernel, modules named like a library's, and a home that cannot be used."""
    theirs = {"argv": ["/no/such/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]}
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps(theirs | {"display_name": "theirs", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    for name in ("numpy", "pandas", "ipykernel", "json"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not the library')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("HOME", "/proc/none")
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.chdir(tmp_path)
    look = "import numpy, pandas, sys, json\nprint('é', sys.executable, numpy.array, pandas.DataFrame, json.dumps)"
    toys.save(toy / "notebooks", FIRST, look, toys.FIRST)
    kernel.execute(FIRST, run := Run.checked("smoke"))
    assert sys.executable in run.executed(FIRST).read_text(encoding="utf-8")
    assert os.environ["JUPYTER_PATH"] == str(tmp_path / "jupyter")  # put back
