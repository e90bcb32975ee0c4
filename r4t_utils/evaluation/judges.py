"""Who scores a set of results: people's labels where there are any, an exact judge where attributes are known, an
embedding judge where neither is.

None is the reward. Every score is one number per query, 0..1. Of the k results of a query, *alignment* is the share
that meets it, *diversity* the share of its interpretations that they show (off-topic results earn nothing), and
`quality` the mean of both. What single sub-queries found is another matter (`grounding`): a sub-query's *own* nearest
content counts there, not the merged set.
"""

import json
import re
from functools import cached_property

import numpy as np
import pandas as pd

from r4t_utils.data.corpus import Corpus
from r4t_utils.data.sample import ITEM_ATTRIBUTES, world
from r4t_utils.data.sample_queries import satisfies
from r4t_utils.data.text import topic_words
from r4t_utils.evaluation.label_judge import LabelJudge
from r4t_utils.evaluation.metrics import alpha_ndcg_at, subtopic_recall_at
from r4t_utils.policy.rewards import vendi
from r4t_utils.space.encoder import SentenceEncoder
from r4t_utils.space.index import Index

Texts = list[list[str]]  # the sub-queries of n queries, m of each
Scores = dict[str, np.ndarray]  # name -> a value per query
FACTS = ("category", *ITEM_ATTRIBUTES)  # an outfit's style, occasion, season and mood are those of its items


def quality(scores: Scores) -> np.ndarray:
    """Mean of alignment and diversity, (n,): the score that decides between methods. It asks nothing of sub-queries, so
    it is the same question to rows with and without them."""
    return (scores["alignment"] + scores["diversity"]) / 2


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
        self._wanted: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._borne: dict[str, tuple[int, np.ndarray | None]] = {}

    def score(self, queries: pd.DataFrame, ids: np.ndarray, texts: object, k: int, alpha: float) -> Scores:
        """Scores (n,) for queries (with `intent`) and their results, ids (n, k), best first: alignment, diversity
        (subtopic recall) and alpha_ndcg. What follows a repeated id moves up. `texts` is not read."""
        scores: Scores = {name: np.zeros(len(ids)) for name in ("alignment", "diversity", "alpha_ndcg")}
        for i, intent in enumerate(queries["intent"]):
            relevant, subtopics = self.wanted(intent)
            ranked = list(dict.fromkeys(ids[i].tolist()))
            scores["alignment"][i] = float(relevant[ids[i]].mean())
            scores["diversity"][i] = subtopic_recall_at(ranked, subtopics, relevant, k)
            scores["alpha_ndcg"][i] = alpha_ndcg_at(ranked, subtopics, relevant, k, alpha)
        return scores

    def wanted(self, intent: str) -> tuple[np.ndarray, np.ndarray]:
        """Which of the m collections satisfy an intent (JSON), bool (m,), and their s looks as columns, bool (m, s)."""
        if intent not in self._wanted:
            relevant = satisfies(self.collections, json.loads(intent))
            self._wanted[intent] = relevant, self.labels[:, self.labels[relevant].any(0)]
        return self._wanted[intent]

    def grounding(self, texts: Texts, top: np.ndarray) -> Scores:
        """How far the contents `top` (n, m) are what sub-queries (n lists of m) asked for; means over m, (n,).

        subquery_groundedness: the share of a sub-query's topic words that its content bears out (words that the world
        lacks are not borne out, and a sub-query without topic words asks for nothing: 0). subquery_relative: the same
        divided by the highest share that any content reaches, so that asking for less earns nothing.
        """
        share, best = np.zeros(top.shape), np.zeros(top.shape)
        flat: dict[str, list[tuple[int, int]]] = {}
        for i, row in enumerate(texts):
            for j, text in enumerate(row):
                flat.setdefault(text, []).append((i, j))
        for text, places in flat.items():
            at = tuple(np.transpose(places))
            borne = self.borne_out(text)
            share[at], best[at] = borne[top[at]], borne.max()
        relative = np.divide(share, best, out=np.zeros_like(share), where=best > 0)
        return {"subquery_groundedness": share.mean(1), "subquery_relative": relative.mean(1)}

    def borne_out(self, text: str) -> np.ndarray:
        """Share of a text's topic words that each collection bears out, (collections,)."""
        met, total = np.zeros(len(self.facts), np.float32), 0
        for span in self.spans.findall(" ".join(re.findall(r"[a-z0-9-]+", text.lower()))):
            if span not in self._borne:
                self._borne[span] = self._of_span(span)
            n, bears = self._borne[span]
            total += n
            if bears is not None:
                met += bears
        return met / max(total, 1)

    def _of_span(self, span: str) -> tuple[int, np.ndarray | None]:
        """How many words a span counts for, and for how many of them in each collection (None: in none)."""
        n, meant = len(span.split()), self.meanings.get(span, set())
        if not meant:
            return (n if topic_words(span) else 0), None
        return n, n * np.array([bool(meant & facts) for facts in self.facts], np.float32)


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


class JudgeSpace:
    """The judge's own space: MiniLM as it came, at full width, before the heads and the training that the reward's
    encoder has. `contents` (m, 384): its embeddings of the collections' texts, unit rows."""

    def __init__(self, corpus: Corpus, sentence: SentenceEncoder):
        self.sentence = sentence
        self.contents = sentence(corpus.collection_texts(), label="judge's embeddings")

    @cached_property
    def index(self) -> Index:
        return Index(self.contents)

    def groundedness(self, texts: Texts) -> np.ndarray:
        """1 - half the mean distance of the sub-queries (n lists of m) to their nearest contents: (n,). The query
        alone, as one sub-query of its own, is scored alike."""
        return 1 - self.index.search(self._encoded(texts), 1)[1].reshape(len(texts), -1).mean(1) / 2

    def grounding(self, texts: Texts, top: np.ndarray) -> Scores:
        """The analogue of `AttributeJudge.grounding` without attributes: cosines of sub-queries (n lists of m) with the
        contents `top` (n, m) that they found, and these divided by the highest cosine of any content.

        It cannot say whether a content is what was asked for, only that it reads like it, and a short text reads
        like many. The plain query's is its alignment, by definition: no average should count it twice.
        """
        asked = self._encoded(texts)
        share = np.einsum("id,id->i", asked, self.contents[top.ravel()]).clip(0, 1)
        best = (1 - self.index.search(asked, 1)[1][:, 0] ** 2 / 2).clip(1e-6, 1)
        scores = {"subquery_groundedness": share, "subquery_relative": (share / best).clip(0, 1)}
        return {name: values.reshape(top.shape).mean(1) for name, values in scores.items()}

    def _encoded(self, texts: Texts) -> np.ndarray:
        return self.sentence([text for row in texts for text in row])


class EmbeddingJudge(JudgeSpace):
    """For real data without labels and attributes. Alignment is the mean cosine of the results with the query, clipped
    to 0..1; diversity is their Vendi score divided by k, which cannot say whether they are on the topic. A relative of
    the reward, hence the weakest evidence of the three."""

    def score(self, queries: pd.DataFrame, ids: np.ndarray, texts: object, k: int, alpha: float) -> Scores:
        """Scores (n,) of ids (n, k), as `AttributeJudge.score` gives them, less alpha_ndcg; `texts` is not read."""
        found = self.contents[ids]
        z_q = self.sentence(queries["query"].tolist())
        return {"alignment": np.einsum("nkd,nd->nk", found, z_q).mean(1).clip(0, 1), "diversity": vendi(found) / k}


def judge(corpus: Corpus, sentence: SentenceEncoder) -> AttributeJudge | LabelJudge | EmbeddingJudge:
    """The label judge for a corpus with qrels, the exact one where attributes are known, else the embedding judge.

    `sentence` is MiniLM as it came, `SentenceEncoder()`; that of a run's own encoder, which may be fine-tuned, would
    judge with what the reward was trained on.
    """
    if corpus.qrels is not None:
        return LabelJudge(corpus)
    return AttributeJudge(corpus) if "intent" in corpus.oar else EmbeddingJudge(corpus, sentence)
