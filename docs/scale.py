"""How search scales: exact, HNSW and IVF from 10,000 contents on, and what 100 million would take by extrapolation.

    python docs/scale.py            # a quarter of an hour on two cores, most of it the graph of a million

Contents are made up: unit vectors (d = 128) in clusters, whose members are as near as outfits of one look. A query is
ten directions, as the retriever searches. Writes the tables of docs/scale.md.
"""

import time
from pathlib import Path

import faiss
import numpy as np

from r4t_utils.run import blocks
from r4t_utils.run.files import write_text
from r4t_utils.space.encoder import unit
from r4t_utils.space.index import Approximate, Index

D, L, K, QUERIES, REPEATS = 128, 10, 10, 50, 3
SPREAD = 0.06  # of a content around its centre, per coordinate: cosine 0.7 between neighbours
DOCUMENT = Path(__file__).resolve().parent / "scale.md"
SIZES, TARGET = (10**4, 10**5, 10**6), 10**8


def contents(n: int, rng: np.random.Generator) -> np.ndarray:
    """n unit vectors in clusters of some 20."""
    centres = unit(rng.standard_normal((max(1, n // 20), D)).astype(np.float32))
    return unit(centres[rng.integers(len(centres), size=n)] + SPREAD * rng.standard_normal((n, D), np.float32))


def timed(index: Index, queries: np.ndarray, batch: int) -> float:
    """Median milliseconds per query of L directions, asked `batch` queries at a time."""
    seconds = []
    for _ in range(REPEATS):
        for start in range(0, len(queries) - batch + 1, batch):
            asked = queries[start : start + batch].reshape(-1, D)
            began = time.perf_counter()
            index.search(asked, K)
            seconds.append((time.perf_counter() - began) / batch)
    return 1000 * float(np.median(seconds))


def measured(n: int) -> list[dict]:
    """A row per kind of index over n contents."""
    rng, rows, exact = np.random.default_rng(n), [], np.zeros(())
    vectors = contents(n, rng)
    queries = unit(
        vectors[rng.integers(n, size=QUERIES * L)] + 0.04 * rng.standard_normal((QUERIES * L, D), np.float32)
    )
    queries = queries.reshape(QUERIES, L, D)
    for kind in ("exact", "hnsw", "ivf"):
        began = time.perf_counter()
        index = Index(vectors) if kind == "exact" else Approximate(vectors, kind)
        built = time.perf_counter() - began
        print(f"{n:,} contents, {kind}: built in {built:.1f} s", flush=True)
        ids, _ = index.search(queries.reshape(-1, D), K)
        exact = ids if kind == "exact" else exact
        recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(exact, ids)])
        alone, together = timed(index, queries, 1), timed(index, queries, QUERIES)
        rows.append({"contents": n, "index": kind, "build, s": built, "recall@10": recall})
        rows[-1] |= {"one query, ms": alone, "of 50 together, ms": together}
        print(rows[-1], flush=True)
    return rows


def table(rows: list[dict]) -> str:
    """Markdown."""
    form = {
        "recall@10": "{:.3f}",
        "contents": "{:,}",
        "index": "{}",
        "one query, ms": "{:.2f}",
        "of 50 together, ms": "{:.2f}",
    }
    cells = ([form.get(key, "{:,.1f}").format(value) for key, value in row.items()] for row in rows)
    return "\n".join(blocks.table([*rows[0]], cells))


def extrapolated(rows: list[dict]) -> str:
    """What TARGET contents take, from the slope between the two largest databases of each kind, in log-log."""
    lines = []
    for kind in ("exact", "hnsw", "ivf"):
        small, large = [row for row in rows if row["index"] == kind][-2:]
        sizes = small["contents"], large["contents"]
        row = {
            "contents": TARGET,
            "index": kind,
            "vectors and index, GB": (D * 4 + 8 + (256 if kind == "hnsw" else 0)) * TARGET / 1e9,
        }
        for key in ("build, s", "one query, ms"):
            slope = np.log(large[key] / small[key]) / np.log(sizes[1] / sizes[0])
            row[key] = large[key] * (TARGET / sizes[1]) ** slope
            row[f"exponent of {key.split(',')[0]}"] = slope
        lines.append(row)
    return table(lines)


def main() -> None:
    """Measures, and puts both tables into the document."""
    faiss.omp_set_num_threads(2)
    rows = [row for n in SIZES for row in measured(n)]
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, block in (("measured", table(rows)), ("extrapolated", extrapolated(rows))):
        text = blocks.between(text, name, lambda _, block=block: block)
    write_text(DOCUMENT, text)


if __name__ == "__main__":
    main()
