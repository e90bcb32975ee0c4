"""requirements.lock, environment.yml, pyproject.toml and the running environment agree."""

import ast
import re
import sys
import tomllib
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from r4t_utils.run import paths

LOCK = (paths.ROOT / "requirements.lock").read_text().splitlines()
PINNED = dict(line.split("==") for line in LOCK if line and not line.startswith("#"))
ENVIRONMENT = (paths.ROOT / "environment.yml").read_text()
PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [Requirement(text) for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]]


def test_the_lock_pins_exactly_once_and_names_no_place_to_get_things_from():
    lines = [line for line in LOCK if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines)
    assert len(PINNED) == len(lines)
    assert PINNED["torch"] == "2.13.0"


def test_the_lock_lists_direct_dependencies_first():
    direct = [
        line.split("==")[0] for line in LOCK[: LOCK.index("# what those of the first list bring along")] if "==" in line
    ]
    assert sorted(direct) == sorted(canonicalize_name(r.name) for r in DIRECT)


def test_pyproject_allows_what_the_lock_pins():
    for requirement in DIRECT:
        version = PINNED[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} against {version}"


def test_environment_yml_repeats_the_direct_pins():
    *_, pip = yaml.safe_load(ENVIRONMENT)["dependencies"]
    given = dict(line.split("==") for line in pip["pip"])
    assert given == {canonicalize_name(r.name): PINNED[canonicalize_name(r.name)] for r in DIRECT}
    assert f"python{PROJECT['requires-python']}" in yaml.safe_load(ENVIRONMENT)["dependencies"]


def test_every_line_of_environment_yml_says_who_needs_it():
    assert all(re.search(r"  # \S", line) for line in ENVIRONMENT.splitlines())


@pytest.mark.parametrize("name", sorted(PINNED))
def test_this_environment_is_the_locked_one(name):
    assert metadata.version(name).split("+")[0] == PINNED[name]


def test_every_import_is_a_declared_dependency():
    providers = metadata.packages_distributions()
    declared = {canonicalize_name(r.name) for r in DIRECT}
    declared |= {"packaging"}  # pip and pytest themselves stand on it
    ours = {"r4t_utils"} | {p.stem for p in (paths.ROOT / "tests").rglob("*.py")}
    for file in [*(paths.ROOT / "r4t_utils").rglob("*.py"), *(paths.ROOT / "tests").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for top in {name.split(".")[0] for name in names} - ours - sys.stdlib_module_names:
                found = {canonicalize_name(d) for d in providers.get(top, [])}
                assert found & declared, f"{file.name} imports {top} ({found or 'not installed'}); declare it"


def test_the_citation_has_the_version_of_the_package():
    import r4t_utils

    citation = yaml.safe_load((paths.ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == r4t_utils.__version__
    assert "2603.06397" in citation["references"][0]["identifiers"][0]["value"]
