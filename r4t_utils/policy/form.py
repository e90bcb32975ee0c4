"""Lessons that teach a small pretrained policy the form of an answer.

Such a model knows English and cannot keep to a form, nor write a list: it soon says one line again and again. So each
sub-query of a lesson is the first line of an answer of its own, which it begins after two worked examples, and the
lesson puts k different ones into the form. Lines that repeat the examples are left out: a lesson would teach them.
"""

import re
from collections.abc import Iterator
from functools import cache

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from r4t_utils.policy.folm import Folm
from r4t_utils.policy.prompts import INSTRUCTION, frame, matching_key

TEMPERATURE = 0.7  # of its own words: at the temperature of a fan-out a model of this size loses its thread
WORDS = 8  # of a sub-query in a lesson, at most: every token costs time in all that follows
ASKED = "\nWrite one query per line and nothing else.\n\nRequest: {query}"
EXAMPLES = {  # subjects that no corpus here is about
    "oar": {
        "a quiet weekend by the sea": "small hotels with a sea view\ncoastal walks without crowds\nquiet beaches in "
        "autumn\nfishing villages to visit\ncottages near an empty beach\nboat trips to small islands\nslow travel "
        "along the coast\nseaside towns with bookshops\nwinter weekend at the sea\nseafood restaurants by a harbour",
        "healthy food for children": "vegetables that children like\nhealthy school lunches\nsnacks without sugar\n"
        "quick family dinners with vegetables\nbreakfast with fruit and oats\nhome-made fish fingers\nhealthy birthday "
        "party food\nsoups for small children\ncooking together with children\niron-rich meals for toddlers",
    },
    "wscr": {
        "camping in the rain": "waterproof tent\nwarm sleeping bag\nrain jacket with hood\ndry bag for clothes\n"
        "gas stove with wind shield\nrubber boots\ntarp with poles\nwool socks\nhead torch\nfolding camp chair",
        "a birthday party in the garden": "paper lanterns\nchocolate cake\nlong wooden table\npicnic blankets\n"
        "lemonade jug\nballoons in bright colours\ncroquet set\nparty hats\nbarbecue grill\nstring lights",
    },
}


def lessons(
    policy: Folm, queries: dict[str, list[str]], number: int, lines: int, seed: int
) -> Iterator[dict[str, str]]:
    """Up to `number` lessons, half of them per task, with the keys prompt and completion.

    A lesson needs k different sub-queries, for which the policy begins `lines` answers to a training query. The lists
    are in form; whether they are any good is not asked.
    """
    rng, k = np.random.default_rng(seed), policy.settings.k
    for task, given in queries.items():
        asked = [given[i] for i in rng.permutation(len(given))[: number // len(queries)]]
        prompts = [_conversation(policy, task, query) for query in asked for _ in range(lines)]
        said_of = policy.complete(prompts, TEMPERATURE, seed, label=f"its own words, {task}", first_line=True)
        for i, query in enumerate(asked):
            said = _different(said_of[i * lines : (i + 1) * lines])
            said = [line for line in said if not echoes(line, task, query)]
            if len(said) >= k:
                yield {"prompt": policy.prompt(task, query), "completion": frame(said[:k])}


def exchanged(policy: Folm, queries: dict[str, list[str]]) -> Iterator[str]:
    """All that a policy reads and writes besides words of its own: what it is asked for lessons and in tuning, and the
    form of its answers."""
    yield frame(["so"] * policy.settings.k)
    for task, given in queries.items():
        for query in given:
            yield from (_conversation(policy, task, query), policy.prompt(task, query))


def _conversation(policy: Folm, task: str, query: str) -> str:
    ask = INSTRUCTION[task].format(k=policy.settings.k) + ASKED
    turns = [(ask.format(query=request), answer) for request, answer in EXAMPLES[task].items()]
    chat = [{"role": role, "content": text} for turn in turns for role, text in zip(("user", "assistant"), turn)]
    return policy.chat([*chat, {"role": "user", "content": ask.format(query=query)}])


def echoes(line: str, task: str, query: str) -> bool:
    """Whether most of a line's words, function words aside, are those of a task's worked examples and not the query's:
    a small model that has nothing to say repeats what it was shown."""
    said = _words(line)
    return 2 * len(said & _shown(task) - _words(query)) > len(said)


@cache
def _shown(task: str) -> set[str]:
    """The words of a task's worked examples."""
    return _words(" ".join(text for turn in EXAMPLES[task].items() for text in turn))


def _words(text: str) -> set[str]:
    """Without function words; one hotel and two hotels are one word."""
    return {word.rstrip("s") for word in re.findall(r"\w+", text.casefold()) if word not in ENGLISH_STOP_WORDS}


def _different(lines: list[str]) -> list[str]:
    """The lines that can be sub-queries, each once: of few words, and with no sign of a list's."""
    kept: dict[str, str] = {}
    for line in lines:
        text = line.strip().lstrip("-*•0123456789.) ").rstrip(" .,;")
        fine = len(text.split()) <= WORDS and text.isprintable() and not set('"\\<>[]{}') & set(text)
        if fine and (key := matching_key(text)):
            kept.setdefault(key, text)
    return list(kept.values())
