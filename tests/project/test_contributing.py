"""CONTRIBUTING.md and CHANGELOG.md name targets, files and names that exist."""

import re

import pytest

import r4t_utils
from r4t_utils.data import sources
from r4t_utils.evaluation import claims, judges, methods
from r4t_utils.run import paths, stage

TEXT = (paths.ROOT / "CONTRIBUTING.md").read_text()
CHANGES = (paths.ROOT / "CHANGELOG.md").read_text()
PLACES = (paths.ROOT, paths.ROOT / "r4t_utils", paths.ROOT / "r4t_utils" / "data")


def test_it_is_one_page():
    assert len(TEXT.splitlines()) < 100


def test_every_target_exists():
    phony = re.search(r"^\.PHONY: (.*)$", (paths.ROOT / "Makefile").read_text(), re.M)[1].split()
    named = set(re.findall(r"`make ([a-z]+)", TEXT))
    assert {"setup", "quick", "lint", "test"} <= named <= set(phony)


def test_every_file_exists():
    named = set(re.findall(r"`([\w./-]+(?:\.(?:py|md|yaml|yml|toml|lock)|/))`", TEXT))
    assert len(named) > 10
    assert not {name for name in named if not any((place / name).exists() for place in PLACES)}


@pytest.mark.parametrize(
    "owner, names",
    [
        (stage, "STAGES begin"),
        (stage.Stage, "input path record finish"),
        (sources, "DATASETS label load"),
        (judges, "judge"),
        (judges.EmbeddingJudge, "score"),
        (methods, "Answer"),
        (claims, "METHODS CLAIMS Claim"),
    ],
)
def test_every_name_exists(owner, names):
    assert all(hasattr(owner, name) and name in TEXT for name in names.split())


def test_the_changelog_has_this_version():
    assert "## [Unreleased]" in CHANGES and f"## [{r4t_utils.__version__}] - " in CHANGES
