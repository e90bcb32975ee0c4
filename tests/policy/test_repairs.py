"""What large models write in place of plain JSON, and how it is read."""

import json

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import block, read

from r4t_utils.policy.prompts import Fanout, count_repairs, matching_key, parse


@pytest.mark.parametrize(
    "body, queries, repairs",
    [
        ('```json\n["a", "b"]\n```', ["a", "b"], ["code fence"]),
        ('\n```\n{"1": "a", "2": "b"}```', ["a", "b"], ["code fence"]),
        ('```JSON\n["a", "b"]', ["a", "b"], ["code fence"]),
        ('["a", "b",]', ["a", "b"], ["trailing comma"]),
        ('{"1": "a",\n "2": "b, }",\n}', ["a", "b, }"], ["trailing comma"]),
        ('["a", "b"],', ["a", "b"], ["trailing comma"]),
        ("['red hat', 'men's hat']", ["red hat", "men's hat"], ["quotes"]),
        ("""["red hat", 'men\\'s hat']""", ["red hat", "men's hat"], ["quotes"]),
        ("""["men's hat", 'the "it" bag']""", ["men's hat", 'the "it" bag'], ["quotes"]),
        ("['girls' hats', 'boys'']", ["girls' hats", "boys'"], ["quotes"]),
        ("['hats, men's', 'red]']", ["hats, men's", "red]"], ["quotes"]),
        ("{'1': '90's look', '2': 'b'}", ["90's look", "b"], ["quotes"]),
        ("[“red hat”, “men’s hat”]", ["red hat", "men’s hat"], ["quotes"]),
        ("[‘red hat’, ‘men’s hat’]", ["red hat", "men’s hat"], ["quotes"]),
        ('[“men\'s “it” bag”, ‘say "hi"’]', ["men's “it” bag", 'say "hi"'], ["quotes"]),
        ("1. red hat\n2. men's hat", ["red hat", "men's hat"], ["lines"]),
        ("\n  1) red hat\n\n  2) 90's hat\n", ["red hat", "90's hat"], ["lines"]),
        ("- red hat\n- “men’s hat”", ["red hat", "men’s hat"], ["lines"]),
        ("* red hat\r\n• blue-green hat", ["red hat", "blue-green hat"], ["lines"]),
        ('1. "red hat",\n2. "1. FC hat"', ["red hat", "1. FC hat"], ["lines"]),
        ('{"queries": ["a", "b"]}', ["a", "b"], ["queries object"]),
        ('{"queries": {"1": "a", "2": "b"}}', ["a", "b"], ["queries object"]),
        ("```\n- a\n- b\n```", ["a", "b"], ["code fence", "lines"]),
        (
            "```json\n{'queries': ['a', 'b',],}```",
            ["a", "b"],
            "code fence,quotes,trailing comma,queries object".split(","),
        ),
    ],
)
def test_repairs_read_what_was_meant_and_are_noted(body, queries, repairs):
    for text in (block(body), "In <queries> tags: " + block(body) + " Between <queries> and </queries>."):
        assert read(text) == (queries, "", tuple(repairs))


@settings(deadline=None)
@given(st.lists(tiny.sub_queries().map(lambda q: q.strip("'")).filter(matching_key), min_size=1))
def test_any_repairable_form_gives_what_its_json_gives(queries):
    k, expected = len(queries), parse(block(queries), len(queries))
    repr_like = "[" + ", ".join(f"'{query}'" for query in queries) + ",]"
    numbered = "\n".join(f"{i}. {query}" for i, query in enumerate(queries, 1))
    for body in (repr_like, numbered, numbered.replace("'", "’"), json.dumps({"queries": queries}), str(queries)):
        found = parse(block(body), k)
        assert [q.replace("’", "'") for q in found.queries] == expected.queries and found.fault == ""
        assert found.stutters == expected.stutters
        assert bool(found.repairs) == (body != json.dumps(queries))


@pytest.mark.parametrize(
    "value", [["men's", "“b”"], ["a,]", "```b```"], {"1": "a", "2": "- b"}, ["1. a", "{'b': 'c',}"]]
)
def test_what_is_well_formed_is_left_as_it_is(value):
    listed = list(value.values()) if isinstance(value, dict) else value
    assert read(block(value)) == (listed, "", ())
    assert read(block(json.dumps(value, ensure_ascii=False))) == (listed, "", ())


def test_a_query_named_queries_is_a_query():
    assert read(block({"queries": "a"}), 1) == (["a"], "", ())
    assert read(block("{'queries': 'a'}"), 1) == (["a"], "", ("quotes",))


def test_the_tag_next_to_the_lines_is_theirs():
    assert read("In <queries> tags: <queries> - a\n - b</queries>") == (["a", "b"], "", ("lines",))


def test_prose_before_a_fence_is_left_out():
    fenced = 'These are they:\n```json\n["a", "b"]\n```\nI hope that they help.'
    assert read("In <queries> tags: " + block(fenced)) == (["a", "b"], "", ("code fence",))


def test_repairs_are_counted_by_kind_and_do_not_tell_fanouts_apart():
    fanouts = [
        parse(block(body), 2) for body in ('["a", "b"]', "['a', 'b',]", '["a", "b",]', "- a\n- b", "a, b", "- a")
    ]
    assert count_repairs(fanouts) == {"quotes": 1, "trailing comma": 2, "lines": 2}
    assert fanouts[0] == fanouts[1] == Fanout(["a", "b"], "") and count_repairs([]) == {}
