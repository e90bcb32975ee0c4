"""Workflows and commit hooks name what exists, fetch nothing that is not pinned, and may read only."""

import importlib.util
import re
import shlex
import subprocess
import sys

import pytest
import yaml

from r4t_utils.run import paths

WORKFLOWS = {path.name: path for path in sorted((paths.ROOT / ".github" / "workflows").glob("*.yml"))}
HOSTS = yaml.safe_load((paths.ROOT / "tests" / "project" / "hosts.yaml").read_text())
HOOKS = paths.ROOT / ".pre-commit-config.yaml"
MAKEFILE = (paths.ROOT / "Makefile").read_text()


def _jobs(name: str) -> dict:
    return yaml.safe_load(WORKFLOWS[name].read_text())["jobs"]


def _assigned(name: str) -> list[str]:
    """The words of a variable of the Makefile."""
    return re.search(rf"^{name} := (.*)$", MAKEFILE, re.M)[1].split()


def _targets() -> set[str]:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)[1]
    return set(phony.replace("$(STAGES)", " ".join(_assigned("STAGES"))).split())


def test_there_are_workflows():
    assert WORKFLOWS.keys() == {"checks.yml", "site.yml", "weekly.yml"}
    assert {"lint", "quick", "smoke", "hosts"} == _jobs("checks.yml").keys()


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_read_and_ends(name):
    workflow = yaml.safe_load(WORKFLOWS[name].read_text())
    assert workflow["permissions"] == {"contents": "read"} and workflow["concurrency"]["cancel-in-progress"]
    for title, job in workflow["jobs"].items():
        may = {"pages": "write", "id-token": "write"} if (name, title) == ("site.yml", "publish") else None
        assert job["timeout-minutes"] <= 120 and job.get("permissions") == may
        used = [step["uses"] for step in job["steps"] if "uses" in step]
        assert used and all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in used)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_runs_targets_that_exist(name):
    commands = [step["run"] for job in _jobs(name).values() for step in job["steps"] if "run" in step]
    made = [shlex.split(command)[1:] for command in commands if command.startswith("make ")]
    assert made
    for words in made:
        variables = [word.split("=")[0] for word in words if "=" in word]
        assert set(words) - {word for word in words if "=" in word} <= _targets()
        assert set(variables) <= set(_assigned("VARIABLES"))


def test_every_host_is_tested_on_its_python():
    rows = _jobs("checks.yml")["hosts"]["strategy"]["matrix"]["include"]
    assert {row["host"]: row["python"] for row in rows} == {name: host["python"] for name, host in HOSTS.items()}


def test_hooks_fetch_nothing_and_run_what_exists():
    (repo,) = yaml.safe_load(HOOKS.read_text())["repos"]
    assert repo["repo"] == "local"
    for hook in repo["hooks"]:
        assert hook["language"] in ("system", "pygrep")
        words = shlex.split(hook["entry"])
        if "-m" in words:
            assert importlib.util.find_spec(words[words.index("-m") + 1])
        assert all((paths.ROOT / word).exists() for word in words if word.endswith(".py"))


@pytest.mark.locked
def test_hooks_are_valid():
    subprocess.run([sys.executable, "-m", "pre_commit", "validate-config", HOOKS], check=True)


@pytest.mark.locked
@pytest.mark.parametrize(
    "hook, bad, good",
    [
        ("whitespace", ["a \n", "a\n\tb\t\nc\n"], ["a\n", "", " a b\n\n c\n"]),
        ("end-of-file", ["a", "a\nb", "a\n\n", "\n", "a\n\n\n"], ["a\n", "a\n\nb\n", ""]),
        ("large-files", ["x" * 1_000_001], ["x" * 1_000_000, ""]),
    ],
)
def test_a_hook_finds_what_it_is_for(hook, bad, good, tmp_path):
    (found,) = (h for h in yaml.safe_load(HOOKS.read_text())["repos"][0]["hooks"] if h["id"] == hook)
    command = shlex.split(found["entry"])
    if found["language"] == "pygrep":
        command = [sys.executable, "-m", "pre_commit.languages.pygrep", *found.get("args", []), found["entry"]]
    file = tmp_path / "a file.txt"
    for text in bad + good:
        file.write_text(text)
        wrong = subprocess.run([*command, file], capture_output=True).returncode != 0
        assert wrong == (text in bad), text[:20]
