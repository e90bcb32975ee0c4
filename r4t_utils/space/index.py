"""Nearest-neighbour search over unit vectors with FAISS: exact, or approximate for large databases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import faiss
import numpy as np

from r4t_utils.machine.checks import damaged, read_tensors, whole

swig: Any = faiss  # whose parameters its type stubs do not know
Kind = Literal["hnsw", "ivf"]
NEIGHBOURS = 32  # edges of a node of HNSW
LOOKED_AT = 128  # candidates that HNSW keeps while it searches, at least twice as many as are wanted
PROBED = 1 / 16  # share of the lists that IVF looks through


class SearchFailed(ValueError):
    """The engine behind an index does not answer, or not as it should."""


class Searchable(Protocol):
    """What a retriever needs of an index over unit vectors, whoever keeps them. Contents have the ids 0, 1, ...

    `space` names the encoder that the vectors come from (`DualEncoder.space`), "" where nobody said.
    """

    space: str

    @property
    def d(self) -> int: ...

    def __len__(self) -> int: ...

    def search(
        self, queries: np.ndarray, n: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]: ...

    def take(self, ids: np.ndarray) -> np.ndarray: ...


class Index:
    """A frozen database: unit vectors (n, d), searched exactly by inner product. ValueError for any others."""

    def __init__(self, vectors: np.ndarray, space: str = ""):
        self.vectors, self.space = unit_rows("vectors", vectors, (None, None)), space
        whole("number of vectors", len(self.vectors), 1)
        self.faiss = self._built()

    def _built(self) -> faiss.Index:
        index = faiss.IndexFlatIP(self.d)
        index.add(self.vectors)  # pyright: ignore[reportCallIssue]  (faiss replaces the wrapped method)
        return index

    @property
    def d(self) -> int:
        return self.vectors.shape[1]

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, ids: np.ndarray) -> np.ndarray:
        """The vectors (..., d) of contents (...)."""
        return self.vectors[ids]

    def search(self, queries: np.ndarray, n: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Ids (m, n) of the n nearest contents of queries (m, d), nearest first and of equals the first id, and their
        distances (m, n), 0..2.

        `allowed`: the ids among which the n are, all where None.

        Raises ValueError for queries of another shape or not of length 1 (only then is 2 - 2 cosine a squared
        distance), for an allowed id that no content has, and for n outside 1..len(self), or 1..the allowed ones.
        """
        allowed = among(allowed, len(self))
        n = whole("n", n, 1, len(self) if allowed is None else len(allowed), "there are no more contents")
        queries = unit_rows("queries", queries, (None, self.d))
        cosine, ids = self.faiss.search(queries, n, params=self._how(n, allowed))
        order = np.lexsort((ids, -cosine))
        cosine, ids = (np.take_along_axis(found, order, 1) for found in (cosine, ids))
        return ids, np.sqrt(2 - 2 * np.clip(cosine, -1, 1))

    def _how(self, n: int, allowed: np.ndarray | None) -> Any:
        return None if allowed is None else swig.SearchParameters(sel=faiss.IDSelectorBatch(allowed))


class Approximate(Index):
    """The same, searched approximately, for databases that take too long to be searched exactly.

    hnsw: a graph of neighbours; fast, and takes half the vectors' memory again at d = 128 (2 NEIGHBOURS edges each).
    ivf: about 4 sqrt(n) lists by nearest centroid, of which a share of PROBED is looked through; built faster.

    What a search misses is looked for exactly where a filter leaves the graph or the lists too few results.
    """

    def __init__(self, vectors: np.ndarray, kind: Kind = "hnsw", space: str = ""):
        if kind not in ("hnsw", "ivf"):
            raise ValueError(f"kind={kind!r}: must be hnsw or ivf; an exact index is an Index")
        self.kind = kind
        super().__init__(vectors, space)

    def _built(self) -> faiss.Index:
        if self.kind == "hnsw":
            index = faiss.IndexHNSWFlat(self.d, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = LOOKED_AT
        else:
            lists = self.lists = max(1, min(round(4 * len(self) ** 0.5), len(self) // 40))
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(self.d), self.d, lists, faiss.METRIC_INNER_PRODUCT)
            index.train(self.vectors)  # pyright: ignore[reportCallIssue]
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # the order in which threads add contents would decide the graph
        try:
            index.add(self.vectors)  # pyright: ignore[reportCallIssue]
        finally:
            faiss.omp_set_num_threads(threads)
        return index

    def search(self, queries: np.ndarray, n: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        ids, distance = super().search(queries, n, allowed)
        short = (ids < 0).any(1)
        if short.any():
            inside = np.arange(len(self)) if allowed is None else np.unique(allowed)
            place, distance[short] = Index(self.vectors[inside]).search(queries[short], n)
            ids[short] = inside[place]
        return ids, distance

    def _how(self, n: int, allowed: np.ndarray | None) -> Any:
        inside = {} if allowed is None else {"sel": faiss.IDSelectorBatch(allowed)}
        if self.kind == "hnsw":
            return swig.SearchParametersHNSW(efSearch=max(LOOKED_AT, 2 * n), **inside)
        return swig.SearchParametersIVF(nprobe=max(8, round(PROBED * self.lists)), **inside)


def among(allowed: np.ndarray | None, contents: int) -> np.ndarray | None:
    """Allowed ids, each once; None stays None. ValueError for one outside 0..contents - 1."""
    if allowed is None:
        return None
    ids = np.unique(np.asarray(allowed, np.int64))
    if len(ids) and not (ids[0] >= 0 and ids[-1] < contents):
        wrong = ids[0] if ids[0] < 0 else ids[-1]
        raise ValueError(f"allowed id {wrong} must be from 0 to {contents - 1}; no other content is there")
    return ids


def load_indices(path: Path, shapes: Mapping[str, tuple[int, int]], source: str, space: str) -> list[Index]:
    """An index over each array of a file, of the encoder `space`; their shapes follow from `source`. ValueError for
    any others."""
    vectors = read_tensors(path, shapes, source)
    try:
        return [Index(vectors[name], space) for name in shapes]
    except ValueError as error:
        raise damaged(path, f"holds other vectors than were saved ({error})") from None


def unit_rows(name: str, x: np.ndarray, shape: tuple[int | None, int | None]) -> np.ndarray:
    """x (m, d) in float32. ValueError for another shape (None: any), or a row that is not finite or not of length 1."""
    found, x = np.shape(x), np.ascontiguousarray(x, np.float32)
    if len(found) != 2 or any(want not in (None, n) for n, want in zip(found, shape)):
        raise ValueError(f"{name} has shape {found}: must be {shape}, where None stands for any number")
    squared = np.einsum("ij,ij->i", x, x)
    fits = np.abs(squared - 1) <= 2e-3  # not so for NaN either
    if not fits.all():
        row = int(fits.argmin())
        length = f"row {row} of {name} has length {np.sqrt(squared[row]):.3g}"
        raise ValueError(f"{length}: must be finite and of length 1; scale rows with r4t_utils.space.encoder.unit")
    return x
