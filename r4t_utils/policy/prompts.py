"""What a policy is asked and what it answers: the instruction, the frame of an answer, and how one is read.

A completion carries the sub-queries as JSON between <queries> and </queries>. A pretrained instruction-tuned model is
given the whole instruction through its chat template. The small policy of the cpu profile numbers its sub-queries (a
JSON object where the large one writes a list), because a model this small cannot count to k.
"""

import json
import re
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


@dataclass(frozen=True)
class Fanout:
    """A parsed completion: its sub-queries (at most k), why it is malformed ("" where it is not), and which of the
    sub-queries stuttered, saying a word twice (none if empty)."""

    queries: list[str]
    fault: str
    stutters: tuple[bool, ...] = field(default=(), compare=False)


def parse(text: str, k: int) -> Fanout:
    """Read a completion; never raises.

    Well formed = a JSON list of k or more short strings, of which k are kept, or an object with such values, whatever
    their names (a small model counts "4", "4", "6"). A word that a sub-query says twice counts once, before anything
    else is judged: saying it again moves the embedding towards the topic, which a reward would pay for, and asks for
    nothing.
    """
    body = re.search(r"<queries>(.*?)</queries>", text, re.S)
    if not body:
        return Fanout([], "no <queries> block")
    try:
        listed = json.loads(body[1], object_pairs_hook=lambda pairs: [value for _, value in pairs])
    except (ValueError, RecursionError):
        return Fanout([], "not JSON")
    if not isinstance(listed, list) or not all(isinstance(q, str) for q in listed):
        return Fanout([], "not a list of strings")
    if any("\ud800" <= character <= "\udfff" for q in listed for character in q):
        return Fanout([], "not text")  # half a character: no encoder takes it
    queries = [" ".join(dict.fromkeys(q.split())) for q in listed]
    if not all(0 < len(q.split()) <= MAX_WORDS for q in queries):
        return Fanout([], "empty or overlong query")
    if len(queries) < k:
        return Fanout(queries, f"fewer than {k} queries")
    return Fanout(queries[:k], "", tuple(len(q.split()) > len(once.split()) for q, once in zip(listed, queries))[:k])


NEXT = '", '  # ends a sub-query; the number after it is a token of its own, which a small model gets right more often


def number(i: int) -> str:
    """What the small policy writes before sub-query i, counted from 0; one token."""
    return f'"{i + 1}": "' if i else '<queries>{"1": "'


def frame(queries: list[str], start: int = 0) -> str:
    """The completion that the small policy gives for these sub-queries, from number ``start`` on; ``parse`` undoes a
    whole one."""
    return NEXT.join(number(i) + query for i, query in enumerate(queries, start)) + CLOSE
