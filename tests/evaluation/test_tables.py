"""Tables as readers see them: nothing cut off, one format, the best in bold, the same in plain text."""

import io

import numpy as np
import pandas as pd
import pytest

from r4t_utils.evaluation.tables import show


def page(*args, **kwargs):
    return show(*args, **kwargs)._repr_html_()


def cells(table, **kwargs):
    return pd.read_html(io.StringIO(page(table, **kwargs)), keep_default_na=False, thousands=None)[0]


def test_numbers_have_one_format_and_what_is_missing_says_so():
    table = pd.DataFrame({"minutes": [1.25, 1234.5, np.nan], "n": [252.0, 12000, np.nan], "text": ["a", None, "c"]})
    assert cells(table).astype(str).to_numpy().tolist() == [
        ["1.2", "252", "a"],
        ["1,234", "12,000", "–"],
        ["–", "–", "c"],
    ]
    assert ">1.25<" in page(table, digits=2)


def test_an_index_with_a_name_is_a_column_and_any_other_is_none():
    table = pd.DataFrame({"quality": [1.5]}, index=["MMR"])
    assert list(cells(table)) == ["quality"]
    assert list(cells(table.rename_axis("best_method"))) == ["best method", "quality"]


def test_two_ends_become_one_interval_where_they_stand():
    table = pd.DataFrame({"gain": [2.04], "low": [-1.0], "high": [3.0], "n": [9]})
    assert cells(table).columns.tolist() == ["gain", "95 % interval", "n"]
    assert "[-1, 3]" in page(table)


def test_the_highest_number_is_bold_in_each_column_asked_for():
    table = pd.DataFrame({"method": ["a", "b", "c"], "score": [1.0, 3.5, 3.5], "time": [3.0, 1.0, 2.0]})
    shown = page(table, best=["score"])
    assert shown.count("<b>") == 2 and "<b>3.5</b>" in shown
    assert "<b>" not in repr(show(table, best=["score"]))
    with pytest.raises(ValueError, match=r"best: no column \['speed'\]; the columns are method, score, time"):
        show(table, best=["speed"])


def test_long_texts_and_marks_of_html_stay_as_they_are():
    long = "very " * 60 + "long <b>title</b> & more"
    assert cells(pd.DataFrame({"title": [long]}))["title"][0] == long
    assert long in repr(show(pd.DataFrame({"title": [long]})))


def test_plain_text_lines_up_with_numbers_to_the_right():
    table = pd.DataFrame({"method": ["MMR", "R4T-FOLM"], "score": [5.25, 12.5]})
    assert repr(show(table, fold="scores")).splitlines() == [
        "scores",
        "method    score",
        "MMR         5.2",
        "R4T-FOLM   12.5",
    ]


def test_a_folded_table_hides_behind_its_line():
    shown = page(pd.DataFrame({"a": [1]}), fold="one < two")
    assert shown.startswith("<details><summary>one &lt; two</summary>") and shown.endswith("</details>")
    assert "<details" not in page(pd.DataFrame({"a": [1]}))
