"""What a policy is asked and what it answers: the instruction, the frame of an answer, and how one is read.

A completion carries the sub-queries as JSON between <queries> and </queries>. A pretrained instruction-tuned model is
given the whole instruction through its chat template. A policy that is warmed up here numbers its sub-queries (a JSON
object where a large one writes a list), because a model this small cannot count to k.
"""

import json
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

# Our wording of the paper's Appendix prompts: up to k queries that stay on topic, reasoning first, then JSON.
INSTRUCTION = {
    "oar": "You help a search engine explore a broad request. Write {k} search queries that each take the request in a "
    "direction of its own and stay on its topic: keep its words and change or add one to three of them.",
    "wscr": "You help a search engine put a set together, such as an outfit. Write {k} search queries, each for one "
    "item, so that the items found make one set for the request: different things that go together.",
}
FORMAT = (
    "\nThink inside <think></think> first. Then give the queries as a JSON list of strings, in this form: "
    '<queries>["...", "..."]</queries>\n\nRequest: {query}'
)
# Of a policy that was taught the form, which then answers at once, numbering its sub-queries. It is short, since every
# update reads it again, and lessons in the policy's own words, given the instruction above, say what is meant.
SHORT = {
    "oar": "Write {k} search queries that each take the request in a direction of its own.\n\nRequest: {query}",
    "wscr": "Write {k} search queries, each for one item, that make one set for the request.\n\nRequest: {query}",
}

CLOSE = '"}</queries>'
NEXT = '", '  # ends a sub-query; the number after it is a token of its own, which a small model gets right more often
TASK_TOKEN = {"oar": "<outfits>", "wscr": "<items>"}
MAX_WORDS = 12  # a longer "query" is prose
UNSEEN = re.compile("[\u034f\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # joiners and variation selectors

# A tag that a list follows, as JSON (nearly) or in lines, opens a block; one that prose mentions does not.
OPENING = re.compile(
    r"""(?x) <queries> (?=
      \s* (```\w*\s*)? [\[{] \s* ["'“”‘’\[\]{}]          # a bracket, and in it a string or another bracket
    | ([^\S\n]*\n\s*)? (```\w*\s*)? ([-*•]|\d+[.)]) \s  # the mark of a first line, next to the tag or under it
    )"""
)


@dataclass(frozen=True)
class Fanout:
    """A parsed completion: its sub-queries (at most k), why it is malformed ("" where it is not), which of the
    sub-queries stuttered, saying a word twice (none if empty), and the ``REPAIRS`` that it took to read them."""

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
    pieces = [piece for piece in answer.split("</queries>")[:-1] if "<queries>" in piece]
    if not pieces:
        return Fanout([], "no <queries> block")
    lists = [piece[opening.end() :] for piece in pieces if (opening := OPENING.search(piece))]
    block = (lists or [pieces[-1].rpartition("<queries>")[2]])[-1]
    (listed, fault), repairs = _strings(block), ()
    for kind, mend in REPAIRS.items():
        if listed is None and (mended := mend(block)) != block:
            block, repairs = mended, (*repairs, kind)
            listed, _ = _strings(block)
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
    """The letters and digits of a text ("" where it has none), with the marks that belong to them. Texts of one key say
    the same, whatever their case, punctuation, spaces and Unicode form."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    said = [c for c in UNSEEN.sub("", folded) if c.isalnum() or unicodedata.category(c) in ("Mn", "Mc")]
    return "".join(said) if any(map(str.isalnum, said)) else ""


def _each_word_once(query: str) -> str:
    first: dict[str, str] = {}
    for word in query.split():
        first.setdefault(matching_key(word) or word, word)
    return " ".join(first.values())


def _strings(block: str) -> tuple[list[str] | None, str]:
    """The strings of a JSON list or object; None and the fault where it is neither."""
    try:
        listed = json.loads(block, object_pairs_hook=lambda pairs: [value for _, value in pairs])
    except (ValueError, RecursionError):
        return None, "not JSON"
    if not isinstance(listed, list) or not all(isinstance(q, str) for q in listed):
        return None, "not a list of strings"
    return listed, ""


# The repairs: each takes a block and gives it back with one kind of fault mended, or as it was.

ITEM = re.compile(r"""(?x) ([-*•]|\d+[.)]) \s+ (["'“‘](?P<quoted>.+)["'”’] | (?P<bare>.+?)) ,?""")  # 1. "red hat",
PLAIN = r'"(?:[^"\\]|\\.)*"?'  # a JSON string, which like any here runs to the end of the text where nothing ends it
# A string in other quotes ends at a mark after which a list or an object can go on; an apostrophe is no such mark.
GOES_ON = r"""\s*(?:,\s*(?:["'“”‘’\]}]|\Z)|[\]}:]|\Z)"""
SINGLE, DOUBLE = (rf"[{q}]((?:[^{q}\\]|\\.|[{q}](?!{GOES_ON}))*)[{q}]?" for q in ("'‘’", "“”"))
STRING = re.compile(f"({PLAIN})|{SINGLE}|{DOUBLE}", re.S)
TRAILING_COMMA = re.compile(rf"({PLAIN})|,(?=\s*(?:[\]}}]|\Z))", re.S)
WRAPPED = re.compile(r'\A\s*\{\s*"queries"\s*:\s*([\[{].*)\}\s*\Z', re.S)


def _unfenced(block: str) -> str:
    return block.split("```")[1].lstrip(string.ascii_letters) if "```" in block else block


def _listed(block: str) -> str:
    rows = [ITEM.fullmatch(row.strip()) for row in block.splitlines() if row.strip()]
    items = [row["quoted"] or row["bare"] for row in rows if row]
    return json.dumps(items, ensure_ascii=False) if items and len(items) == len(rows) else block


def _requoted(block: str) -> str:
    def as_json(found: re.Match) -> str:
        text = (found[2] or found[3] or "").replace("\\'", "'")
        return found[1] or '"' + re.sub(r'(?<!\\)"', r"\"", text) + '"'

    return STRING.sub(as_json, block)


REPAIRS: dict[str, Callable[[str], str]] = {  # in the order in which they are tried, until the block is JSON
    "code fence": _unfenced,
    "lines": _listed,
    "quotes": _requoted,
    "trailing comma": lambda block: TRAILING_COMMA.sub(lambda found: found[1] or "", block),
    "queries object": lambda block: WRAPPED.sub(r"\1", block),
}


def slots(tokens: Sequence[str]) -> list[int]:
    """Which sub-query each token of a completion belongs to, counted from 0, given what each token says. What stands
    before the first belongs to the first, and a separator to what it ends."""
    text, found = "", []
    for token in tokens:
        found.append(text.count('",'))
        text += token
    return found


def number(i: int) -> str:
    """What stands before sub-query i, counted from 0; one token of the small policy."""
    return f'"{i + 1}": "' if i else '<queries>{"1": "'


def frame(queries: list[str], start: int = 0) -> str:
    """What a policy warmed up here says for these sub-queries, from number ``start`` on; ``parse`` undoes it."""
    return NEXT.join(number(i) + query for i, query in enumerate(queries, start)) + CLOSE
