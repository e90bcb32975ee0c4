"""The shape of the package: few rooms at the root, one order among them, no circle, nothing too long to read."""

import ast
import sys
from importlib import metadata

import pytest

from r4t_utils.run import paths

PACKAGE = paths.ROOT / "r4t_utils"
# From the ground up: a room imports its own files and lower rooms alone.
ORDER = ("settings", "machine", "data", "space", "policy", "diffusion", "retriever", "evaluation", "run")
# Two rooms that stand side by side: the model of stage 3 knows nothing of the language model of stage 1.
APART = {("diffusion", "policy"), ("retriever", "policy")}
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py")


def module(file):
    return ".".join(file.relative_to(paths.ROOT).with_suffix("").parts)


def room(name):
    return name.split(".")[1]


MODULES = {module(file): file for file in FILES}


def imported(file):
    """The package's modules that a file imports anywhere, its functions included."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file.name}: imports are absolute here"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & MODULES.keys()


def test_the_rooms_at_the_root_are_these():
    found = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert found - {"__init__"} == set(ORDER) and len(ORDER) <= 9


@pytest.mark.parametrize("file", FILES, ids=module)
def test_no_room_imports_a_higher_one(file):
    own = room(module(file))
    for other in map(room, imported(file)):
        assert ORDER.index(other) <= ORDER.index(own) and (own, other) not in APART, f"{own} imports {other}"


def test_no_files_import_each_other_in_a_circle():
    left = {name: imported(file) for name, file in MODULES.items()}
    while free := {name for name, needs in left.items() if not needs & left.keys()}:
        left = {name: needs for name, needs in left.items() if name not in free}
    assert not left


@pytest.mark.parametrize("file", FILES, ids=module)
def test_a_file_is_short_enough_to_read_at_a_sitting(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 300


def test_the_faces_of_rooms_hand_nothing_on():
    faces = set(PACKAGE.rglob("*/__init__.py")) - {PACKAGE / "retriever" / "__init__.py"}  # the product has one name
    for face in faces:
        (docstring,) = ast.parse(face.read_text(encoding="utf-8")).body
        assert isinstance(docstring.value, ast.Constant) and docstring.value.value.endswith("."), face


def test_no_two_files_bear_one_name_and_none_a_librarys():
    names = [file.stem for file in FILES]
    assert len(names) == len(set(names))
    libraries = set(metadata.packages_distributions()) - {"r4t_utils"}
    assert not libraries & {*ORDER, *names} - sys.stdlib_module_names


def test_tests_mirror_the_rooms():
    tests = paths.ROOT / "tests"
    folders = {p.name for p in tests.iterdir() if p.is_dir() and any(p.glob("test_*.py"))}
    assert folders - {"project"} == {name for name in ORDER if (PACKAGE / name).is_dir()}
