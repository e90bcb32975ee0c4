"""From texts, queries and people's labels to a `Corpus`: what Perspectrum and a user's own files have in common.

Every content is an item and a collection of that one item, so both tasks search the same texts.
"""

import numpy as np
import pandas as pd

from r4t_utils.data.corpus import SPLITS, Corpus
from r4t_utils.data.splits import near_duplicate_groups, split_811

SEED = 2603  # queries and splits are data: training seeds do not change them


def assemble(
    name: str, contents: pd.DataFrame, queries: pd.DataFrame, qrels: pd.DataFrame | None, sets: dict[str, list[int]]
) -> Corpus:
    """The corpus of these tables.

    contents: title, category. queries: id, query, family, split (None in every row: drawn 8:1:1). qrels: query (id),
    content (row number of contents), subtopic; None without labels. sets: query id -> reference set Y (row numbers).
    Near-duplicate queries are one group, and so are queries with the same Y; a group lies in one split whole. Where
    the given splits part a group, all of it goes to the first of train, validation and test that has a member of it,
    so no test query is a near-copy of a training query; ``oar.attrs["moved"]`` counts the queries that changed split.
    With qrels, a query without labels can teach and not be scored: it is in training or left out.
    """
    oar = queries.reset_index(drop=True).copy()
    reference = [str(sorted(sets[i])) if i in sets else i for i in oar["id"]]
    oar["group"] = near_duplicate_groups(oar["query"].tolist(), reference)
    labelled = np.ones(len(oar), bool) if qrels is None else np.isin(oar["id"], qrels["query"].tolist())
    group, moved = oar["group"].to_numpy(), 0
    if bool(oar["split"].notna().all()):
        rank = pd.Series([SPLITS.index(name) for name in oar["split"]])
        first = rank.groupby(group).transform("min")
        moved, oar["split"] = int((rank > first).sum()), [SPLITS[i] for i in first]
    else:
        oar["split"] = split_811(group, np.random.default_rng(SEED), oar["family"].tolist())
    oar = oar.loc[labelled | (oar["split"] == "train").to_numpy()].reset_index(drop=True)
    if qrels is not None:
        oar["apart"] = _apart(oar, qrels)
    wscr = oar.loc[np.isin(oar["id"], [*sets])].drop(columns=["family", "apart"], errors="ignore")
    wscr = wscr.reset_index(drop=True)
    wscr["items"] = [sorted(sets[i]) for i in wscr["id"]]
    oar.attrs["moved"] = moved
    collections = pd.DataFrame({"title": contents["title"], "items": [[i] for i in range(len(contents))]})
    return Corpus(name, contents, collections, oar, wscr, qrels, speaks="own words")


def reference_sets(qrels: pd.DataFrame) -> dict[str, list[int]]:
    """Every relevant content of a query, each once, as its reference set: {query id: row numbers}."""
    return {str(query): sorted(set(rows)) for query, rows in qrels.groupby("query", sort=False)["content"]}


def smaller(
    contents: pd.DataFrame, queries: pd.DataFrame, qrels: pd.DataFrame, n_queries: int, n_contents: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The same three tables with n_queries queries at most and, unless it is 0, n_contents contents at most.

    Queries are drawn with a fixed seed, one split after the other in turn, and taken with their relevant contents as
    long as these fit; contents that no taken query has are left out. For the smoke profile: fewer contents are an
    easier search, so its numbers mean nothing. As given where nothing is too large.
    """
    if len(queries) <= n_queries and not 0 < n_contents < len(contents):
        return contents, queries, qrels
    wanted, limit = {q: set(rows) for q, rows in qrels.groupby("query")["content"]}, n_contents or len(contents)
    drawn = queries.sample(frac=1, random_state=SEED)
    turn = drawn.groupby("split", dropna=False).cumcount().sort_values(kind="stable").index
    taken, kept = [], set()
    for i in turn:
        rows = kept | wanted.get(str(queries.at[i, "id"]), set())
        if len(taken) < n_queries and len(rows) <= limit:
            taken, kept = [*taken, i], rows
    rows = np.array(sorted(kept)) if n_contents else np.arange(len(contents))
    queries = queries.loc[sorted(taken)].reset_index(drop=True)
    qrels = qrels.loc[qrels["query"].isin(queries["id"].tolist())]
    qrels = qrels.assign(content=np.searchsorted(rows, qrels["content"])).reset_index(drop=True)
    return contents.iloc[rows].reset_index(drop=True), queries, qrels


def _apart(oar: pd.DataFrame, qrels: pd.DataFrame) -> np.ndarray:
    """Which held-out queries share no relevant content with any training query, bool (n,)."""
    training = set(oar.loc[oar["split"] == "train", "id"])
    taught = qrels.loc[qrels["query"].isin([*training]), "content"]
    shared = qrels.loc[qrels["content"].isin(taught), "query"]
    return ((oar["split"] != "train") & ~oar["id"].isin(shared)).to_numpy()
