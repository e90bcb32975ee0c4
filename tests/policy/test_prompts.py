import itertools
import json
import re
import subprocess
import sys
import time
import unicodedata

import pytest
import tiny
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny import block, read

from r4t_utils.policy.prompts import (
    CLOSE,
    MAX_WORDS,
    NEXT,
    Fanout,
    frame,
    matching_key,
    number,
    parse,
)

pieces = """<queries> </queries> <think> </think> ``` ```json { } [ ] , : \\ " ' ‘ ’ “ ” - * 1. queries \ud800""".split(
    " "
)
marked = st.lists(st.sampled_from([*pieces, " ", "\n", "\x00", '"queries": ', '["a", "b"]']) | st.text(max_size=3))


@settings(deadline=None)
@given(st.text() | marked.map("".join), st.integers(1, 12))
@example("[" * 100_000, 3)
@example("[" * 100_000 + "]" * 100_000, 3)
@example('{"1":' * 20_000, 3)
@example("9" * 10_000, 3)
@example("[NaN]", 1)
@example("</queries><queries>", 1)
@example("", 1)
def test_parse_never_raises(text, k):
    for candidate in (text, block(text), f"</think>{block(text)}", block(f"['{text}', 'b',]"), block(f"- {text}")):
        found = parse(candidate, k)
        assert isinstance(found, Fanout)
        assert bool(found.fault) == (len(found.queries) < k)
        assert len(found.queries) <= k and all(q == " ".join(q.split()) and matching_key(q) for q in found.queries)
        "".join(found.queries).encode()


@pytest.mark.parametrize(
    "part",
    [
        "['",
        "'",
        "' ",
        "<queries>",
        "<queries>[",
        "</queries>",
        "```",
        "\n- ",
        "\n",
        " ",
        ", ",
        "“‘",
        "\\'",
        "1. '",
        "}",
    ],
)
def test_no_text_takes_long(part):
    text, began = part * (200_000 // len(part)), time.monotonic()
    for candidate in (text, block(text), block(f"['{text}x"), block(f"-{text}"), block('{"queries": [' + text)):
        parse(candidate, 2)
    assert time.monotonic() - began < 10  # a tenth of a second, where time grows with length and not its square


words = st.text("aAbB1é-'! \n\u200b", max_size=6)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | words,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def by_hand(query: str) -> str:
    kept, said = [], set()
    for word in query.split():
        letters = re.sub("[^ab1é]", "", word.lower()) or word
        kept += [word] * (letters not in said)
        said.add(letters)
    return " ".join(kept)


@settings(deadline=None)
@given(json_values | st.lists(words, min_size=1), st.integers(1, 4))
def test_parse_of_any_json(value, k):
    found = parse(block(value), k)
    listed = list(value.values()) if isinstance(value, dict) else value
    strings = isinstance(listed, list) and all(isinstance(x, str) for x in listed)
    fine = strings and len(listed) >= k
    fine = fine and all(re.search("[ab1é]", x.lower()) and len(by_hand(x).split()) <= MAX_WORDS for x in listed)
    assert (found.fault == "") == fine and found.repairs == ()
    assert not fine or found.queries == [by_hand(x) for x in listed[:k]]
    assert not fine or found.stutters == tuple(by_hand(x).split() != x.split() for x in listed[:k])


@settings(deadline=None)
@given(st.lists(tiny.sub_queries(), min_size=1, max_size=12))
def test_parse_undoes_frame(queries):
    assert parse(frame(queries), len(queries)) == Fanout(queries, "")
    assert list(json.loads(frame(queries)[len("<queries>") : -len("</queries>")])) == [
        str(i + 1) for i in range(len(queries))
    ]


def test_answers_of_the_small_policy_are_read_strictly():
    """Whole or broken, whatever its tokens are: what is not JSON stays malformed, and nothing is repaired."""
    faults = set()
    for n in range(5):
        for middle in itertools.product(
            (number(0), number(1), number(2), NEXT, " red", " men's", "'90s", "1"), repeat=n
        ):
            found = parse(body := number(0) + "".join(middle) + CLOSE, 2)
            faults.add(found.fault)
            try:
                json.loads(body[len("<queries>") : -len("</queries>")])
                assert found.fault != "not JSON" and found.repairs == ()
            except ValueError:
                assert (found.queries, found.fault, found.repairs) == ([], "not JSON", ())
    assert faults == {"", "not JSON", "empty or overlong query", "fewer than 2 queries"}


@pytest.mark.parametrize(
    "text, fault",
    [
        ("a b, c d", "no <queries> block"),
        ('<queries>["a", "b"]', "no <queries> block"),
        (block('["a", "b"'), "not JSON"),
        (block("a, b"), "not JSON"),
        (block("- a\nb"), "not JSON"),
        (block("['a', 'b'"), "not JSON"),
        (block("[" * 100_000), "not JSON"),
        (block('"a"'), "not a list of strings"),
        (block(["a", 3]), "not a list of strings"),
        (block({"1": ["a"]}), "not a list of strings"),
        (block({"queries": ["a", 3]}), "not a list of strings"),
        (block({"queries": ["a", "b"], "more": ["c"]}), "not a list of strings"),
        (block(r'["red \ud800 hat", "b"]'), "not text"),  # half a character, at which an encoder raises TypeError
        (block("- red \ud800 hat\n- b"), "not text"),
        (block(["a", " "]), "empty or overlong query"),
        (block(["a", " ".join(map(str, range(MAX_WORDS + 1)))]), "empty or overlong query"),
        (block(["a", "x " * (MAX_WORDS + 1)]), ""),
        (block(["a"]), "fewer than 2 queries"),
        (block([]), "fewer than 2 queries"),
        (block("- a"), "fewer than 2 queries"),
        (block(["a", "b"]), ""),
        (block({"1": "a", "2": "b"}), ""),
    ],
)
def test_every_fault_is_named(text, fault):
    assert parse(text, 2).fault == fault


@pytest.mark.parametrize(
    "nothing", ["-", "--- ...", "\u200b", "\x00", "\ufe0f", "\u0301", "_", "!?", "❤", "\u200d \u2060"]
)
def test_a_sub_query_without_a_letter_or_digit_is_empty(nothing):
    assert parse(block(["a", nothing]), 2).fault == "empty or overlong query"
    assert parse(block(["a", f"{nothing}7{nothing}"]), 2).fault == ""


def test_lists_and_objects_of_more_are_cut_to_k():
    expected = Fanout(["red hat", "blue hat"], "")
    assert parse(block(["red hat", "blue  hat", "green hat"]), 2) == expected
    assert parse(block({"9": "red hat", "1": "blue\nhat", "2": "green hat"}), 2) == expected  # in the order given


def test_a_number_said_twice_loses_no_query():
    text = '<queries>{"1": "red hat", "1": "blue hat", "3": "green hat"}</queries>'
    assert parse(text, 3) == Fanout(["red hat", "blue hat", "green hat"], "")


# Words and sub-queries that say the same


@pytest.mark.parametrize(
    "again", ["Boho  dress!", "“boho” DRESS", "bo\u200bho-dress", "ｂｏｈｏ dress", "BOHO_dress\ufe0f"]
)
def test_one_key_whatever_case_punctuation_or_unicode_form(again):
    assert matching_key(again) == matching_key("boho dress") == "bohodress"


@given(st.text())
def test_one_key_for_every_normal_form(text):
    assert len({matching_key(unicodedata.normalize(form, text)) for form in ("NFC", "NFD", "NFKC", "NFKD")}) == 1


@pytest.mark.parametrize("one, other", [("café", "cafe"), ("hat", "hats"), ("का", "की"), ("90s", "80s")])
def test_letters_digits_and_their_marks_tell_texts_apart(one, other):
    assert matching_key(one) != matching_key(other)


def test_a_word_said_twice_counts_once():
    found = parse(block(["red hat red", "red hat", "hat hat"]), 2)
    assert found == Fanout(["red hat", "red hat"], "") and found.stutters == (True, False)


@pytest.mark.parametrize(
    "query, once",
    [
        ("Boho boho Dress", "Boho Dress"),
        ("boho, dress boho!", "boho, dress"),
        ("caf\u00e9 cafe\u0301 chair", "caf\u00e9 chair"),
        ("ｈａｔ hat", "ｈａｔ"),
        ("t-shirt & TShirt", "t-shirt &"),
        ("a & b & c - d", "a & b c - d"),
    ],
)
def test_a_stutter_in_another_form_is_one(query, once):
    found = parse(block([query, once]), 2)
    assert found.queries == [once, once] and found.stutters == (True, False)


# Reasoning, and mentions of the tags


@pytest.mark.parametrize(
    "text",
    [
        '<think>["not", "these"]</think>\n' + block(["a", "b"]) + "\nHope this helps!",
        f"<think>First {block(['x', 'y'])}, or so.</think>{block(['a', 'b'])}",
        f"a draft {block(['x', 'y'])} in a thought that the prompt opened</think> {block(['a', 'b'])}",
        "<think>I must answer in <queries> tags</think>" + block(["a", "b"]),
        f"<think>x</think> hm <think>{block(['x', 'y'])}</think>{block(['a', 'b'])}",
        "I will answer in <queries> tags: " + block(["a", "b"]),
        "I answer between <queries> and </queries>: " + block(["a", "b"]),
        "The <queries> [list] follows: " + block(["a", "b"]),
        "It follows, as <queries>...</queries>\n" + block(["a", "b"]),
        block(["a", "b"]) + " That <queries> block is all; <queries></queries> holds no more.",
        block(["a", "b"]) + " I wrote these between <queries> and </queries>.",
        block(["x", "y"]) + " Better: " + block(["a", "b"]),
        "\n".join(["<queries>", '["a",', '"b"]', "</queries>"]),
    ],
)
def test_the_last_list_outside_the_thoughts_is_the_answer(text):
    assert read(text) == (["a", "b"], "", ())


@pytest.mark.parametrize(
    "text, fault",
    [
        (f"<think>A draft: {block(['a', 'b'])}", "<think> never closed"),
        (f"<think>x</think><think>{block(['a', 'b'])}", "<think> never closed"),
        (f"<think>{block(['a', 'b'])}</think>", "no <queries> block"),
        (f"<think>x</think> {block(['a', 'b'])[:-1]}", "no <queries> block"),
        (block(["a", "b"]) + block(["c"]), "fewer than 2 queries"),  # the last one, be it worse
    ],
)
def test_a_draft_is_no_answer(text, fault):
    assert parse(text, 2).fault == fault


def test_reading_answers_needs_no_torch():
    code = """import sys, r4t_utils.policy.prompts
assert 'torch' not in sys.modules
assert not {'transformers', 'numpy', 'pandas', 'pydantic'} & sys.modules.keys()"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
