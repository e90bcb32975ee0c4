import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import toys

from r4t_utils.run import paths, pipeline
from r4t_utils.run.run import Run

FIRST, SECOND = "01_data_curation", "02_rl_fanout"
BOTH = [FIRST, SECOND]


@pytest.fixture
def quick(toy, monkeypatch):
    """The same pipeline without kernels."""
    monkeypatch.setattr(pipeline.kernel, "execute", toys.run_in_process)
    return toy


def recorded(seed=0):
    """{stage: what the results of a run say of it}."""
    return json.loads((Run.checked("smoke", seed=seed).results / "manifest.json").read_text())["stages"]


def run(*arguments, **environment):
    """The command as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "r4t_utils.run.pipeline", "--profile", "smoke", *arguments],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--set", "rl.group=1"], ["rl.group=1", "at least 2"]),
        (["--set", "rl.micro_batch=3"], ["rl.micro_batch=3"]),
        (["--profile", "big"], ["'big'", "smoke, cpu, lm, gpu, paper"]),
        (["--dataset", "films"], ["'films'", "polyvore"]),
        (["--seed", "-1"], ["-1", "whole number"]),
        (["--seed", "1.5"], ["1.5", "whole number"]),
        (["--seed", "²"], ["whole number"]),
        (["--only", "07"], ["'07'", "02_rl_fanout"]),
        (["--set", "rl.stepz=1"], ["stepz", "prompts_per_step"]),
        (["--set", "rl.steps=0"], ["rl.steps=0", "at least 1"]),
        (["--set", "rl.steps=many"], ["'many'"]),
        (["--dataset", "polyvore"], ["data_dir", "R4T_DATA_DIR"]),
        (["--dataset", "polyvore", "--data-dir", "/no/such"], ["/no/such"]),
        (["--step", "3"], ["--step"]),
    ],
)
def test_bad_input_is_one_message_and_status_2(toy, capfd, arguments, words):
    before = toys.contents(toy)
    assert pipeline.main(["--profile", "smoke", *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    for word in words:
        assert word in err
    assert toys.contents(toy) == before


@pytest.mark.training
def test_the_command_itself_reports_bad_input_without_a_traceback(folders):
    done = run("--seed", "x")
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(r"error: seed='x' .*\n", done.stderr)


@pytest.mark.parametrize(
    "cell",
    [
        'profile = "cpu"',
        toys.PARAMETERS + "\nextra = 1",
        toys.PARAMETERS.replace("seed", "sede"),
        "profile = make()",
    ],
)
def test_a_notebook_that_papermill_would_not_parameterise_is_refused(toy, capsys, cell):
    path = paths.notebook(FIRST)
    notebook = json.loads(path.read_text())
    notebook["cells"][0]["source"] = cell
    path.write_text(json.dumps(notebook))
    assert pipeline.main(["--profile", "smoke"]) == 2
    assert "parameters cell" in capsys.readouterr().err


def test_a_missing_notebook_is_refused(toy, capsys):
    paths.notebook(SECOND).unlink()
    assert pipeline.main(["--profile", "smoke"]) == 2
    assert f"{SECOND}.ipynb" in capsys.readouterr().err


@pytest.mark.training
def test_light_imports():
    """A run that finds nothing to do must not wait for torch."""
    heavy = "('torch', 'transformers', 'papermill')"
    script = f"import sys, r4t_utils.run.pipeline; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=paths.ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_what_is_fresh_is_skipped_and_only_what_changed_is_run(quick, capfd):
    seed_3 = ["--profile", "smoke", "--seed", "3"]
    assert pipeline.main(seed_3) == 0
    before = toys.contents(quick)
    capfd.readouterr()
    assert pipeline.main(seed_3) == 0
    assert "Nothing to do" in capfd.readouterr().out
    assert toys.contents(quick) == before

    toys.save(quick / "notebooks", SECOND, toys.SECOND.replace("copy", "other"))
    assert pipeline.main(seed_3) == 0
    out = capfd.readouterr().out
    assert f"{FIRST}: fresh" in out and f"{SECOND}: running (its code has changed)" in out
    assert list(recorded(3)) == BOTH

    toys.save(quick / "notebooks", FIRST, toys.FIRST.replace("range(3)", "range(4)"))
    assert pipeline.main(seed_3) == 0
    assert f"{SECOND}: running ({FIRST} has been made anew since)" in capfd.readouterr().out

    Run.checked("smoke", seed=3).executed(SECOND).unlink()
    assert "notebook is missing" in pipeline.outdated(SECOND, Run.checked("smoke", seed=3))


def test_only_runs_one_stage_and_wants_its_inputs_fresh(quick, capsys):
    assert pipeline.main(["--profile", "smoke", "--only", "02"]) == 2
    err = capsys.readouterr().err
    assert f"{SECOND} needs {FIRST}" in err and "make 01 PROFILE=smoke" in err
    assert not any((quick / "results").iterdir()) and not any((quick / "artifacts").iterdir())
    assert pipeline.main(["--profile", "smoke", "--only", "01"]) == 0
    assert pipeline.main(["--profile", "smoke", "--only", SECOND]) == 0
    out = capsys.readouterr().out
    assert FIRST in out and f"[1/1] {SECOND}: running (asked for)" in out
    assert pipeline.main(["--profile", "smoke", "--only", "02"]) == 0  # fresh or not
    toys.save(quick / "notebooks", FIRST, toys.FIRST, "1 + 1")
    capsys.readouterr()
    assert pipeline.main(["--profile", "smoke", "--only", "02"]) == 2
    assert "its code has changed" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("make") is None, reason="make is missing")
@pytest.mark.parametrize("target", ["help", "reproduce", "03", "seeds", "record", "compare"])
def test_make_refuses_a_variable_that_it_does_not_know(target):
    def make(*words):
        alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
        return subprocess.run(["make", "-n", target, *words], cwd=paths.ROOT, env=alone, capture_output=True, text=True)

    known = ("PROFILE=smoke", "DATASET=sample", "DATA_DIR=", "SEED=1", "SEEDS=0 1", "SET=a.b=1 c.d=2")
    known += ("DEVICE=T4", "DEVICES=2", "PYTHON=python3")
    assert make().returncode == make(*known).returncode == 0
    refused = make(*known, "DATSET=polyvore")
    assert refused.returncode and not refused.stdout
    assert (
        "unknown variable DATSET; the variables are PROFILE DATASET DATA_DIR SEED SEEDS SET DEVICE DEVICES PYTHON"
        in refused.stderr
    )


def test_results_say_of_each_stage_the_settings_that_it_had(quick, capsys):
    assert pipeline.main(["--profile", "smoke"]) == 0
    before = recorded()
    assert pipeline.main(["--profile", "smoke", "--only", "02", "--set", "rl.steps=2"]) == 0
    assert recorded()[SECOND]["settings"]["rl"]["steps"] == 2 and recorded()[SECOND]["overrides"] == "rl.steps=2"
    assert recorded()[FIRST] == before[FIRST]
    toys.save(quick / "notebooks", FIRST, toys.FIRST.replace("range(3)", "range(4)"))
    assert pipeline.main(["--profile", "smoke", "--only", "01"]) == 0
    assert recorded()[SECOND].pop("outdated") == f"{FIRST} has been made anew since"
    assert "outdated" not in recorded()[FIRST]


def test_a_stage_that_does_not_read_a_changed_setting_stays_as_it_was_made(quick, capsys):
    for first, then in (
        ([], ["--set", "rl.steps=2"]),
        (["--profile", "smoke", "--set", "rl.steps=2"], ["--profile", "smoke"]),
    ):
        assert pipeline.main(first) == 0
        capsys.readouterr()
        assert pipeline.main([*then, "--only", "02"]) == 0
        assert pipeline.main(first) == 0
        out = capsys.readouterr().out
        assert f"{FIRST}: fresh" in out and f"{FIRST}: running" not in out
        assert f"{SECOND}: running (it was made with rl.steps=" in out


def test_a_stage_after_a_run_with_other_settings_is_refused(quick, capfd):
    assert pipeline.main(["--profile", "smoke"]) == 0
    before = toys.contents(quick)
    assert pipeline.main(["--profile", "smoke", "--only", "02", "--set", "encoder.epochs=3"]) == 2
    assert "encoder.epochs=2, and this run asks for 3" in capfd.readouterr().err
    assert toys.contents(quick) == before


def test_a_folder_that_cannot_be_written_is_one_message(toy, monkeypatch, capfd):
    (toy / "taken").write_text("a file, so no folder can be made below it, not even by root")
    monkeypatch.setenv("R4T_ARTIFACTS", str(toy / "taken" / "here"))
    before = toys.contents(toy)
    assert pipeline.main(["--profile", "smoke"]) == 2
    out, err = capfd.readouterr()
    assert out == "" and re.fullmatch(r"error: .*taken.* cannot be written \(.*\); .*\$R4T_ARTIFACTS\n", err)
    assert toys.contents(toy) == before


ODD = ["a b", "it's", 'say "x"', "$HOME $(id) `id`", "ünï", "a;b&c|d*?[1]#"]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is missing")
@pytest.mark.parametrize("text", ODD)
def test_a_suggested_command_survives_the_shell(tmp_path, text):
    folder = tmp_path / text.replace("/", "")
    given = Run.checked("smoke", overrides=f"folm.policy={shlex.quote(text)} latency.batch_sizes=[1,2]")
    command = dataclasses.replace(given, data_dir=folder).command("01")
    (tmp_path / "Makefile").write_text('export\n01:\n\t@printf \'%s\\n\' "$$DATA_DIR" "$$SET" "$$PROFILE"\n')
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=alone, capture_output=True, text=True)
    assert done.stdout.splitlines() == [str(folder), given.overrides, "smoke"], done.stderr
    assert Run.checked("smoke", overrides=given.overrides).settings == given.settings


@pytest.mark.skipif(shutil.which("make") is None, reason="make is missing")
def test_recipes_see_no_modules_of_the_caller():
    there = {**os.environ, "PYTHONPATH": "/somewhere/else"}
    done = subprocess.run(
        ["make", "--eval=show: ; @env", "show"], cwd=paths.ROOT, env=there, capture_output=True, text=True
    )
    assert "\nPYTHONSAFEPATH=1\n" in done.stdout and "PYTHONPATH=" not in done.stdout
