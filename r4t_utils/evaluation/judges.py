"""Who scores a set of results: an exact judge where attributes are known, an embedding judge where they are not.

Neither is the reward. Every score is one number per query, 0..1. For a query q with sub-queries q_1..q_k, whose top-1
contents are c_1..c_k: *alignment* says how many of the c_i meet q, *diversity* how many different interpretations of q
they show (off-topic results earn nothing), *groundedness* how far c_i is what q_i asked for.
"""

import json
import re

import numpy as np
import pandas as pd

from r4t_utils.data.corpus import Corpus
from r4t_utils.data.sample import ITEM_ATTRIBUTES, world
from r4t_utils.data.sample_queries import satisfies
from r4t_utils.data.text import topic_words
from r4t_utils.evaluation.metrics import alpha_ndcg_at, subtopic_recall_at
from r4t_utils.policy.rewards import vendi
from r4t_utils.space.encoder import SentenceEncoder

Texts = list[list[str]] | None  # the sub-queries of n queries, where the method writes any
Scores = dict[str, np.ndarray]  # name -> a value per query
FACTS = ("category", *ITEM_ATTRIBUTES)  # an outfit's style, occasion, season and mood are those of its items


class AttributeJudge:
    """Exact: the attributes of the sample corpus, which the reward never sees. Subtopics of a query are the looks that
    satisfy it."""

    def __init__(self, corpus: Corpus):
        self.collections = corpus.collections
        self.labels = pd.get_dummies(corpus.collections["look"]).to_numpy(bool)
        of_item = [set(zip(FACTS, values)) for values in corpus.items[[*FACTS]].to_numpy()]
        self.facts = [set().union(*(of_item[i] for i in ids)) for ids in corpus.collections["items"]]
        self.meanings = _meanings()
        forms = sorted(self.meanings, key=lambda form: -len(form.split()))  # of several that fit, the longest is meant
        self.spans = re.compile(rf"({'|'.join(map(re.escape, forms))}|\S+)(?!\S)")

    def score(self, queries: pd.DataFrame, ids: np.ndarray, texts: Texts, k: int, alpha: float) -> Scores:
        """Scores (n,) for queries (with ``intent``), top-1 ids (n, k) and sub-queries (n lists of k, or None)."""
        scores: Scores = {name: np.zeros(len(ids)) for name in ("alignment", "diversity", "alpha_ndcg")}
        for i, intent in enumerate(queries["intent"]):
            relevant = satisfies(self.collections, json.loads(intent))
            ranked = list(dict.fromkeys(ids[i].tolist()))
            subtopics = self.labels[:, self.labels[relevant].any(0)]
            scores["alignment"][i] = float(relevant[ids[i]].mean())
            scores["diversity"][i] = subtopic_recall_at(ranked, subtopics, relevant, k)
            scores["alpha_ndcg"][i] = alpha_ndcg_at(ranked, subtopics, relevant, k, alpha)
        if texts is not None:
            grounded = [[self.grounded(text, i) for text, i in zip(*pair)] for pair in zip(texts, ids)]
            scores["groundedness"] = np.array([np.mean(row) for row in grounded])
        return scores

    def grounded(self, text: str, collection: int) -> float:
        """Share of a sub-query's topic words that the collection bears out; words the world lacks are not."""
        met = total = 0
        for span in self.spans.findall(" ".join(re.findall(r"[a-z0-9-]+", text.lower()))):
            n, meant = len(span.split()), self.meanings.get(span, set())
            if meant or topic_words(span):
                total += n
                met += n * bool(meant & self.facts[collection])
        return met / total if total else 0.0


def _meanings() -> dict[str, set[tuple]]:
    """Surface form -> the attribute values that it may stand for."""
    meanings: dict[str, set[tuple]] = {}
    for attribute in FACTS:
        for value, entry in world()[attribute].items():
            for form in filter(None, entry["forms"]):
                meanings.setdefault(form, set()).add((attribute, value))
    for phrases in world()["phrases"].values():
        for form, intent in phrases.items():
            meanings.setdefault(form, set()).update((a, v) for a, values in intent.items() for v in values)
    return meanings


class EmbeddingJudge:
    """For real data without attributes: the sentence encoder at full width, before the heads that the reward uses.

    Alignment and groundedness are mean cosines, clipped to 0..1; diversity is Vendi / k of the results. A relative of
    the reward, hence the weaker evidence of the two.
    """

    def __init__(self, corpus: Corpus, sentence: SentenceEncoder):
        self.sentence = sentence
        self.contents = sentence(corpus.collection_texts(), label="judge's embeddings")

    def score(self, queries: pd.DataFrame, ids: np.ndarray, texts: Texts, k: int, alpha: float) -> Scores:
        """Scores (n,), as ``AttributeJudge.score`` gives them, less alpha-nDCG."""
        found = self.contents[ids]
        z_q = self.sentence(queries["query"].tolist())
        scores = {"alignment": np.einsum("nkd,nd->nk", found, z_q).mean(1).clip(0, 1), "diversity": vendi(found) / k}
        if texts is not None:
            asked = self.sentence([text for row in texts for text in row]).reshape(found.shape)
            scores["groundedness"] = (asked * found).sum(-1).mean(1).clip(0, 1)
        return scores


def judge(corpus: Corpus, sentence: SentenceEncoder) -> AttributeJudge | EmbeddingJudge:
    """The exact judge for a corpus with known attributes, else the embedding judge."""
    return AttributeJudge(corpus) if "intent" in corpus.oar else EmbeddingJudge(corpus, sentence)
