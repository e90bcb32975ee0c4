"""Exact nearest-neighbour search with FAISS."""

from collections.abc import Mapping
from pathlib import Path

import faiss
import numpy as np

from r4t_utils.machine.checks import damaged, read_tensors, whole


class Index:
    """A frozen database: unit vectors (n, d), searched exactly by inner product. ValueError for any others."""

    def __init__(self, vectors: np.ndarray):
        self.vectors = unit_rows("vectors", vectors, (None, None))
        whole("number of vectors", len(self.vectors), 1)
        self.faiss = faiss.IndexFlatIP(self.vectors.shape[1])
        self.faiss.add(self.vectors)  # pyright: ignore[reportCallIssue]  (faiss replaces the wrapped method)

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids (m, n) of the n nearest contents of queries (m, d), nearest first, and their distances (m, n), 0..2.

        Raises ValueError for queries of another shape or not of length 1 (only then is 2 - 2 cosine a squared
        distance), and for n outside 1..len(self).
        """
        n = whole("n", n, 1, len(self), "there are no more contents")
        queries = unit_rows("queries", queries, (None, self.vectors.shape[1]))
        cosine, ids = self.faiss.search(queries, n)
        return ids, np.sqrt(np.clip(2 - 2 * cosine, 0, 4))


def load_indices(path: Path, shapes: Mapping[str, tuple[int, int]], source: str) -> list[Index]:
    """An index over each array of a file; their shapes follow from `source`. ValueError for any others."""
    vectors = read_tensors(path, shapes, source)
    try:
        return [Index(vectors[name]) for name in shapes]
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
