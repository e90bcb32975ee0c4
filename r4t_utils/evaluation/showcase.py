"""Examples for the figures, each picked by a rule and written down as a table: a group of fan-outs, a pair, a set that
comes out of noise, a query's answers on a map, and as lists of results."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.manifold import TSNE

from r4t_utils.data.corpus import Corpus
from r4t_utils.evaluation.judges import Texts
from r4t_utils.evaluation.ladder import Wanted
from r4t_utils.evaluation.methods import Answer, Search, own_top
from r4t_utils.space.encoder import unit
from r4t_utils.space.index import Index

Labels = Sequence[Wanted | None]
Step = tuple[float, np.ndarray, np.ndarray]
EPSILON = 1e-4  # in Eq. 6, as in TRL
NEAR = 300  # contents around a query that are drawn
CONTENTS, REQUEST = "contents", "request"  # in place of a method
PIECES = ("category", "colour", "pattern")


def group(queries: Sequence[str], texts: Texts, rewards: np.ndarray, parts: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """The group of fan-outs whose rewards differ most, of those that are all well formed, or else of all.

    Args: the n queries; the sub-queries of their n * G fan-outs, none for a malformed one; the fan-outs' rewards and
    the reward's terms, (n * G,).
    Returns a row a fan-out, the best first: query, reward, the terms, advantage (Eq. 6) and sub-queries.
    """
    n, G = len(queries), len(texts) // len(queries)
    rewards = np.reshape(rewards, (n, G))
    spread = rewards.std(1, ddof=1)
    whole = np.array([all(texts[i * G : (i + 1) * G]) for i in range(n)])
    i = int(np.argmax(np.where(whole, spread, -1) if whole.any() else spread))
    rows = slice(i * G, (i + 1) * G)
    table = {"query": queries[i], "reward": rewards[i]} | {name: values[rows] for name, values in parts.items()}
    table["advantage"] = (rewards[i] - rewards[i].mean()) / (spread[i] + EPSILON)
    table["sub_queries"] = ["; ".join(dict.fromkeys(row)) or "malformed" for row in texts[rows]]
    return pd.DataFrame(table).sort_values("reward", ascending=False, kind="stable")


def plane(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The centre (d,) and the two main axes (2, d) of points (n, d); the largest entry of an axis is positive."""
    centre = points.mean(0)
    axes = np.linalg.svd(points - centre, full_matrices=False)[2][:2]
    return centre, axes * np.sign(axes[np.arange(2), np.abs(axes).argmax(1)])[:, None]


def around(index: Index, z_q: np.ndarray, titles: Sequence[str], sets: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """A query z_q (d,), the contents nearest to it and rows of named sets (L, d), in the plane of the two main axes of
    the contents and of the last set: kind, x, y and, for rows of sets, the title of the nearest content."""
    near = index.take(index.search(z_q[None], min(NEAR, len(index)))[0])[0]
    centre, axes = plane(np.concatenate([near, list(sets.values())[-1]]))
    parts = []
    for kind, rows in {"content": near, "query": z_q[None], **sets}.items():
        x, y = ((rows - centre) @ axes.T).T
        nearest = index.search(unit(rows), 1)[0][:, 0] if kind in sets else []
        parts.append(pd.DataFrame({"kind": kind, "x": x, "y": y, "finds": [titles[i] for i in nearest] or ""}))
    return pd.concat(parts, ignore_index=True)


def denoising(index: Index, z_q: np.ndarray, titles: Sequence[str], seen: Sequence[Step]) -> pd.DataFrame:
    """What `directions.trajectory` saw, in the plane of `around`: kind (content, query, noisy or denoised), x, y, and
    the noise level sigma, -1 for contents and query. Noisy rows are scaled to unit length, for they are far outside."""
    sets = {}
    for sigma, noisy, denoised in seen:
        sets[f"noisy {sigma!r}"], sets[f"denoised {sigma!r}"] = unit(noisy), denoised
    frame = around(index, z_q, titles, sets).drop(columns="finds")
    kind = frame.kind.str.partition(" ")
    return frame.assign(kind=kind[0], sigma=kind[2].replace("", "-1").astype(float))


def on_map(index: Index, z_q: np.ndarray, answers: Mapping[str, np.ndarray], labels: Wanted | None) -> pd.DataFrame:
    """Where a query z_q (d,) and its answers, ids (k,) by method, lie among the contents around it, on a map by t-SNE
    of cosines.

    Returns a row a content on the map (as method `CONTENTS`), one for the query (`REQUEST`) and a row a result: method,
    x, y, on_topic (1, 0, or -1: unknown) and subtopic (the number of the first that it shows, or -1).
    """
    near = index.search(z_q[None], min(NEAR, len(index)))[0][0]
    shown = np.unique(np.concatenate([near, *answers.values()]))
    points = np.concatenate([index.take(shown[None])[0], z_q[None]])
    perplexity = min(30, (len(points) - 1) / 3)
    placed = TSNE(metric="cosine", perplexity=perplexity, random_state=0).fit_transform(points)
    on_topic, subtopic = np.full(len(index), -1), np.full(len(index), -1)
    if labels is not None:
        on_topic = labels[0].astype(int)
        subtopic = np.where(labels[0], labels[1].argmax(1), -1)
    x, y = placed[-1]
    parts = [pd.DataFrame({"method": [REQUEST], "x": x, "y": y, "on_topic": -1, "subtopic": -1})]
    for method, ids in {CONTENTS: shown, **answers}.items():
        x, y = placed[np.searchsorted(shown, ids)].T
        row = {"method": method, "x": x, "y": y, "on_topic": on_topic[ids], "subtopic": subtopic[ids]}
        parts.append(pd.DataFrame(row))
    return pd.concat(parts, ignore_index=True)


def picked(gain: np.ndarray) -> dict[str, int]:
    """The queries that are shown, by gain (n,): the best, the median and the worst."""
    order = np.argsort(gain, kind="stable")
    return {"best": order[-1], "median": order[len(order) // 2], "worst": order[0]}


def side_by_side(
    corpus: Corpus,
    search: Search,
    queries: Sequence[str],
    answers: Mapping[str, Answer],
    labels: Labels,
    gain: np.ndarray,
) -> pd.DataFrame:
    """What methods answer to the three queries that `picked` names, by gain (n,).

    Returns a row a result: rule, query, gain, method, view ("set": the answer; "sub-queries": what each sub-query finds
    first, for methods that write any), and what `results` says.
    """
    tables = []
    for rule, i in picked(gain).items():
        for method, answer in answers.items():
            views: dict[str, tuple[np.ndarray, Sequence[str]]] = {"set": (answer.ids[i], ())}
            if answer.texts is not None and len(answer.texts[i]) > 1:
                own = Answer(answer.ids[[i]], answer.directions[[i]], None)  # pyright: ignore[reportOptionalSubscript]
                views["sub-queries"] = own_top(search, own)[0], answer.texts[i]
            for view, (ids, asked) in views.items():
                said = {"rule": rule, "query": queries[i], "gain": gain[i], "method": method, "view": view}
                tables.append(pd.DataFrame(said | results(corpus, [*ids], labels[i], asked)))
    return pd.concat(tables, ignore_index=True)


def results(corpus: Corpus, ids: Sequence[int], labels: Wanted | None, asked: Sequence[str] = ()) -> dict[str, list]:
    """Results as readers see them: rank from 1, asked (the sub-query that found it, if given), title, on_topic (1, 0,
    or -1: unknown), pieces (category, colour and pattern of an outfit's pieces, where known)."""
    pieces = [""] * len(ids)
    if {*PIECES} <= {*corpus.items}:
        worn = [corpus.items.loc[[*corpus.collections["items"].iloc[i]], [*PIECES]].to_numpy() for i in ids]
        pieces = ["; ".join(", ".join(piece) for piece in outfit) for outfit in worn]
    return {
        "rank": list(range(1, len(ids) + 1)),
        "asked": list(asked) or [""] * len(ids),
        "title": corpus.collections.title.iloc[ids].tolist(),
        "on_topic": [-1 if labels is None else int(labels[0][i]) for i in ids],
        "pieces": pieces,
    }
