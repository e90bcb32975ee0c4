"""Numbers and files from outside: what is taken, and what each kind of refusal says."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from r4t_utils.machine.checks import read, read_json, read_table, read_tensors, whole
from r4t_utils.settings import Count, Section

SHAPES = {"a": (2, 3), "b": (4,)}


class Pair(Section):
    first: Count
    second: float


@pytest.mark.parametrize("value", [1, 7, np.int64(3), np.uint8(7)])
def test_whole_numbers_become_int(value):
    assert whole("n", value, 1, 7) == value and type(whole("n", value, 1, 7)) is int


@pytest.mark.parametrize("value", [0, 8, -1, 1.0, True, np.True_, "3", None, np.nan, np.float32(2)])
def test_anything_else_is_refused_by_name(value):
    with pytest.raises(ValueError, match=r"^n=.*: must be a whole number from 1 to 7; so it is$"):
        whole("n", value, 1, 7, "so it is")


def arrays(**change):
    return {"a": np.ones((2, 3), np.float32), "b": np.ones(4, np.float32)} | change


def test_arrays_come_back(tmp_path):
    save_file(arrays(), tmp_path / "x.safetensors")
    found = read_tensors(tmp_path / "x.safetensors", SHAPES, "here")
    assert all(np.array_equal(found[name], x) for name, x in arrays().items())


@pytest.mark.parametrize(
    "change, fault",
    [
        ({"a": np.ones((2, 4), np.float32)}, r"a \(2, 4\) in float32; here asks for \(2, 3\) in float32"),
        ({"b": np.ones(4, np.float64)}, r"b \(4,\) in float64; here asks for \(4,\) in float32"),
        ({"c": np.ones(1, np.float32)}, "does not hold the tensors that here asks for: c"),
        ({"a": np.full((2, 3), np.inf, np.float32)}, "values in a that are not finite"),
        ({"b": np.array([1, 2, np.nan, 4], np.float32)}, "values in b that are not finite"),
    ],
)
def test_arrays_that_are_not_those_are_named(tmp_path, change, fault):
    path = tmp_path / "x.safetensors"
    save_file(arrays(**change), path)
    with pytest.raises(ValueError, match=rf"{path} .*{fault}; copy the folder anew, or make it again$"):
        read_tensors(path, SHAPES, "here")


def test_a_missing_array_is_named(tmp_path):
    save_file({"a": arrays()["a"]}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="does not hold the tensors that here asks for: b"):
        read_tensors(tmp_path / "x.safetensors", SHAPES, "here")


@pytest.mark.parametrize(
    "text, fault",
    [
        ('{"first": 1}', "second is missing"),
        ('{"first": 1, "second": 2, "third": 3}', "third is not known"),
        ('{"first": 1, "zweite": 2.5}', "second is missing; zweite is not known"),
        ('{"first": 0, "second": 2.5}', "first=0 must be at least 1"),
        ('{"first": "1", "second": NaN}', "first='1' is not a whole number; second=nan must be finite"),
        ("[1, 2.5]", "is not a mapping"),
        ('{"first": 1, "sec', "cannot be read: cut short, or of another kind"),
        ("", "cannot be read: cut short, or of another kind"),
    ],
)
def test_json_that_is_not_of_this_version_is_named(tmp_path, text, fault):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"^{path} .*{fault}.*; copy the folder anew, or make it again$") as raised:
        read_json(path, Pair)
    assert "\n" not in str(raised.value) and raised.value.__suppress_context__


def test_json_comes_back(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"first": 1, "second": 2.5}))
    assert read_json(tmp_path / "x.json", Pair) == Pair(first=1, second=2.5)


def test_a_missing_file_a_folder_and_a_pointer_are_told_apart(tmp_path):
    with pytest.raises(ValueError, match="x is missing; copy"):
        read(tmp_path / "x", str)
    with pytest.raises(ValueError, match="is missing; copy"):
        read(tmp_path, str)
    (tmp_path / "x").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(ValueError, match="x is a Git LFS pointer, .*`git lfs pull`$"):
        read(tmp_path / "x", str)


def test_a_table_that_lacks_a_column_or_has_a_text_among_numbers_is_named(tmp_path):
    (tmp_path / "t.csv").write_text("method,mean,paper\nA,1.5,\nB,2,3\n90,4,\n")
    assert read_table(tmp_path / "t.csv", "method", "mean")["mean"].tolist() == [1.5, 2, 4]
    with pytest.raises(ValueError, match="t.csv has no column 'low'; copy the folder anew, or make it again"):
        read_table(tmp_path / "t.csv", "mean", "low")
    (tmp_path / "t.csv").write_text("title,mean\n1984,1\n2001,2\nBrazil,3\n")
    assert read_table(tmp_path / "t.csv")["title"].tolist() == ["1984", "2001", "Brazil"]
    (tmp_path / "t.csv").write_text("method,mean\nA,1.5\nB,two\nC,4\n")
    with pytest.raises(ValueError, match="t.csv has mean='two', where other lines have a number"):
        read_table(tmp_path / "t.csv")
