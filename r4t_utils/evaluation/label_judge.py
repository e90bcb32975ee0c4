"""The judge for corpora that people labelled: which contents are relevant to a query, and to which of its subtopics.

A *subtopic* is a group of contents that say the same, such as a cluster of equivalent perspectives. What nobody judged
counts as not relevant.
"""

import numpy as np
import pandas as pd

from r4t_utils.data.corpus import Corpus
from r4t_utils.evaluation.metrics import alpha_dcg, err_ia, greedy_ideal

SCORES = ("alignment", "diversity", "alpha_ndcg", "err_ia")


class LabelJudge:
    """Exact for judged contents: scores by the corpus's qrels, which no reward and no training sees.

    Raises ValueError for a corpus without qrels.
    """

    def __init__(self, corpus: Corpus):
        if corpus.qrels is None:
            raise ValueError(f"{corpus.name} has no qrels; a label judge needs labels: use the embedding judge")
        table = corpus.qrels.drop_duplicates()
        self.ids = pd.Index(table["query"].unique())
        self._n = len(corpus.collections)
        query = self.ids.get_indexer(pd.Index(table["query"]))
        topics = table.drop_duplicates(["query", "subtopic"])[["query", "subtopic"]]
        topics = topics.assign(column=topics.groupby("query").cumcount())  # of a query's own subtopics, from 0
        self.subtopics = topics["query"].value_counts().reindex(self.ids).to_numpy()
        column = table.merge(topics, how="left", on=["query", "subtopic"])["column"].to_numpy()
        self._keys, row = np.unique(query * self._n + table["content"].to_numpy(), return_inverse=True)
        self._has = np.zeros((len(self._keys) + 1, self.subtopics.max()))  # the last row: not judged relevant
        self._has[row, column] = 1
        self._ideal: dict[tuple[int, float], np.ndarray] = {}

    def relevant(self, query: str) -> np.ndarray:
        """The relevant contents of a query, ascending row numbers; ValueError where it has no labels."""
        at = self._at([query])[0]
        keys = self._keys[slice(*np.searchsorted(self._keys, [at * self._n, (at + 1) * self._n]))]
        return keys - at * self._n

    def wanted(self, query: str) -> tuple[np.ndarray, np.ndarray]:
        """Which of the m contents are relevant to a query, bool (m,), and their s subtopics as columns, bool (m, s)."""
        at, ids = self._at([query])[0], self.relevant(query)
        subtopics = np.zeros((self._n, self.subtopics[at]), bool)
        subtopics[ids] = self._has[np.searchsorted(self._keys, at * self._n + ids), : subtopics.shape[1]] > 0
        return np.asarray(subtopics.any(1)), subtopics

    def score(self, queries: pd.DataFrame, ids: np.ndarray, texts: object, k: int, alpha: float) -> dict:
        """Scores (n,) in 0..1 for queries (with ``id``) and their results, ids (n, k), best first, -1 for none.

        alignment: share of the k results that are relevant; diversity: subtopic recall; alpha_ndcg and err_ia: as
        `metrics.alpha_ndcg_at` and `err_ia_at` define them. A result that is named twice counts for alignment twice,
        and for the rest once: what follows moves up. ``texts`` is not read. Raises ValueError for queries without
        labels, or other shapes.
        """
        at, ids = self._at(queries["id"]), np.asarray(ids)
        if ids.ndim != 2 or len(ids) != len(at) or ids.max(initial=-1) >= self._n:
            given, rule = f"ids have shape {ids.shape}, the highest {ids.max(initial=-1)}", f"k={k} results per query"
            raise ValueError(f"{given}; they must be ({len(at)}, {k}), {rule}, below {self._n}")
        ids, none = ids[:, :k], len(self._keys)
        keys = np.where(ids >= 0, at[:, None] * self._n + ids, -1)
        row = np.searchsorted(self._keys, keys).clip(max=none - 1)
        row = np.where(self._keys[row] == keys, row, none)
        alignment = (row < none).sum(1) / k
        repeated = np.tril(ids[:, :, None] == ids[:, None, :], -1).any(2) & (ids >= 0)
        first = np.argsort(repeated, 1, kind="stable")
        rows = self._has[np.take_along_axis(np.where(repeated, none, row), first, 1)]
        diversity = rows.any(1).sum(1) / self.subtopics[at]
        ndcg = alpha_dcg(rows, alpha) / self._ideals(at, k, alpha)
        return dict(zip(SCORES, (alignment, diversity, ndcg, err_ia(rows, self.subtopics[at], k, alpha)), strict=True))

    def _at(self, ids) -> np.ndarray:
        at = self.ids.get_indexer(pd.Index(ids))
        if (at < 0).any():
            unknown = ", ".join(map(repr, np.asarray(ids)[at < 0][:3]))
            raise ValueError(f"no labels for {(at < 0).sum()} queries ({unknown}); score only queries with qrels")
        return at

    def _ideals(self, at: np.ndarray, k: int, alpha: float) -> np.ndarray:
        """alpha-DCG of the greedy ideal of each query, (n,); worked out once."""
        known = self._ideal.setdefault((k, alpha), np.full(len(self.ids), np.nan))
        for i in np.unique(at[np.isnan(known[at])]):
            judged = self._has[slice(*np.searchsorted(self._keys, [i * self._n, (i + 1) * self._n]))]
            known[i] = alpha_dcg(greedy_ideal(judged, k, alpha), alpha)
        return known[at]
