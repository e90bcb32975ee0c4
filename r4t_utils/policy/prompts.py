"""What a policy is asked and what it answers: the instruction, the frame of an answer, and how one is read.

A completion carries the sub-queries as JSON between <queries> and </queries>. A pretrained instruction-tuned model is
given the whole instruction through its chat template. The small policy of the cpu profile numbers its sub-queries (a
JSON object where the large one writes a list), because a model this small cannot count to k.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

# Our wording of the paper's Appendix prompts: up to k queries that stay on topic, reasoning first, then JSON.
INSTRUCTION = {
    "oar": "You help a search engine explore a broad request. Write {k} search queries that each take the request in a "
    "direction of its own and stay on its topic: keep its words and change or add one to three of them.",
    "wscr": "You help a search engine put an outfit together. Write {k} search queries, each for one item, so that the "
    "items found make one outfit for the request: different garments and accessories that go together.",
}
FORMAT = (
    "\nThink inside <think></think> first. Then give the queries as a JSON list of strings, in this form: "
    '<queries>["...", "..."]</queries>\n\nRequest: {query}'
)

CLOSE = '"}</queries>'
TASK_TOKEN = {"oar": "<outfits>", "wscr": "<items>"}
MAX_WORDS = 12  # a longer "query" is prose

# A tag that a list follows, as JSON (nearly) or in lines, opens a block; one that prose mentions does not.
OPENING = re.compile(
    r"""<queries>(?=\s*(```\w*\s*)?[\[{]\s*["'“”‘’\[\]{}]|([^\S\n]*\n\s*)?(```\w*\s*)?([-*•]|\d+[.)])\s)"""
)
ITEM = re.compile(r"""(?:[-*•]|\d+[.)])\s+(?:["'“‘](.+)["'”’]|(.+?)),?""")  # - red hat; 1. red hat; 1. "red hat",
# A JSON string, a trailing comma, or a string in other quotes, which a quote ends where a list or an object can go on:
# an apostrophe does not. A string that nothing ends runs to the end of the text, so that no text takes long.
GOES_ON = r"""\s*(?:,\s*(?:["'“”‘’\]}]|\Z)|[\]}:]|\Z)"""
TOKEN = re.compile(
    r"""("(?:[^"\\]|\\.)*"?)|(,)(?=\s*(?:[\]}]|\Z))"""
    rf"""|['‘’]((?:[^'‘’\\]|\\.|['‘’](?!{GOES_ON}))*)['‘’]?|[“”]((?:[^“”\\]|\\.|[“”](?!{GOES_ON}))*)[“”]?""",
    re.S,
)
WRAPPED = re.compile(r'\s*\{\s*"queries"\s*:\s*([\[{].*)\}\s*', re.S)
UNSEEN = re.compile("[\u034f\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # joiners and variation selectors


@dataclass(frozen=True)
class Fanout:
    """A parsed completion: its sub-queries (at most k), why it is malformed ("" where it is not), which of the
    sub-queries stuttered, saying a word twice (none if empty), and the kinds of repair that it took to read them:
    "code fence", "lines", "quotes", "trailing comma", "queries object"."""

    queries: list[str]
    fault: str
    stutters: tuple[bool, ...] = field(default=(), compare=False)
    repairs: tuple[str, ...] = field(default=(), compare=False)


def count_repairs(fanouts: Iterable[Fanout]) -> Counter[str]:
    """How many of the fan-outs needed each kind of repair; a kind that none needed is not in it."""
    return Counter(kind for fanout in fanouts for kind in fanout.repairs)


def parse(text: str, k: int) -> Fanout:
    """Read a completion; never raises.

    What follows the last ``</think>`` counts, and in it the last complete block that opens as a list does, or where
    none does the last complete one: tags are mentioned in prose too. A ``<think>`` that is never closed was cut off.

    Well formed = a JSON list of k or more short strings, of which k are kept, or an object with such values, whatever
    their names (a small model counts "4", "4", "6"). Where a block is neither, what large models write instead is read
    as they mean it, and noted in ``repairs``. A sub-query without a letter or a digit is empty.

    A word that a sub-query says twice counts once, before anything else is judged: saying it again moves the embedding
    towards the topic, which a reward would pay for, and asks for nothing.
    """
    answer = text.rpartition("</think>")[2]
    if "<think>" in answer:
        return Fanout([], "<think> never closed")
    block = _last_block(answer)
    if block is None:
        return Fanout([], "no <queries> block")
    (listed, fault), repairs = _strings(block), ()
    if listed is None:
        listed, repairs = _mended(block)
    if listed is None:
        return Fanout([], fault)
    if any("\ud800" <= character <= "\udfff" for q in listed for character in q):
        return Fanout([], "not text")  # half a character: no encoder takes it
    queries = [_each_word_once(q) for q in listed]
    if not all(matching_key(q) and len(q.split()) <= MAX_WORDS for q in queries):
        return Fanout([], "empty or overlong query", repairs=repairs)
    if len(queries) < k:
        return Fanout(queries, f"fewer than {k} queries", repairs=repairs)
    stutters = tuple(len(q.split()) > len(once.split()) for q, once in zip(listed, queries))
    return Fanout(queries[:k], "", stutters[:k], repairs)


def matching_key(text: str) -> str:
    """The letters and digits of a text ("" where it has none), with the marks that belong to them.

    Texts of one key say the same, whatever their case, punctuation, spaces and Unicode form.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    said = [c for c in UNSEEN.sub("", folded) if c.isalnum() or unicodedata.category(c) in ("Mn", "Mc")]
    return "".join(said) if any(map(str.isalnum, said)) else ""


def _each_word_once(query: str) -> str:
    first: dict[str, str] = {}
    for word in query.split():
        first.setdefault(matching_key(word) or word, word)
    return " ".join(first.values())


def _last_block(answer: str) -> str | None:
    pieces = answer.split("</queries>")[:-1]
    lists = [piece[opening.end() :] for piece in pieces if (opening := OPENING.search(piece))]
    others = [piece.rpartition("<queries>")[2] for piece in pieces if "<queries>" in piece]
    return (lists or others or [None])[-1]


def _strings(block: str) -> tuple[list[str] | None, str]:
    """The strings of a JSON list or object; None and the fault where it is neither."""
    try:
        listed = json.loads(block, object_pairs_hook=lambda pairs: [value for _, value in pairs])
    except (ValueError, RecursionError):
        return None, "not JSON"
    if not isinstance(listed, list) or not all(isinstance(q, str) for q in listed):
        return None, "not a list of strings"
    return listed, ""


def _mended(block: str) -> tuple[list[str] | None, tuple[str, ...]]:
    """The strings of a block that is not plain JSON, with the repairs that it took; None where they do not do."""
    repairs: dict[str, bool] = {}  # in order
    if "```" in block:
        repairs["code fence"] = True
        block = re.sub(r"\A[a-zA-Z]+", "", block.split("```")[1])
    rows = [ITEM.fullmatch(row.strip()) for row in block.splitlines() if row.strip()]
    items = [row[1] or row[2] for row in rows if row]
    if items and len(items) == len(rows):
        return items, (*repairs, "lines")

    def as_json(token: re.Match) -> str:
        plain, comma, *quoted = token.groups("")
        if plain:
            return plain
        repairs["trailing comma" if comma else "quotes"] = True
        text = "".join(quoted).replace("\\'", "'")
        return "" if comma else '"' + re.sub(r'(?<!\\)"', r"\"", text) + '"'

    block = TOKEN.sub(as_json, block)
    if wrapped := WRAPPED.fullmatch(block):
        repairs["queries object"] = True
        block = wrapped[1]
    return _strings(block)[0], tuple(repairs)


NEXT = '", '  # ends a sub-query; the number after it is a token of its own, which a small model gets right more often


def number(i: int) -> str:
    """What the small policy writes before sub-query i, counted from 0; one token."""
    return f'"{i + 1}": "' if i else '<queries>{"1": "'


def frame(queries: list[str], start: int = 0) -> str:
    """The completion that the small policy gives for these sub-queries, from number ``start`` on; ``parse`` undoes a
    whole one."""
    return NEXT.join(number(i) + query for i, query in enumerate(queries, start)) + CLOSE
