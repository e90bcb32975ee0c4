"""Exact nearest-neighbour search with FAISS."""

import faiss
import numpy as np


class Index:
    """A frozen database: unit vectors (n, d), searched exactly by inner product."""

    def __init__(self, vectors: np.ndarray):
        self.vectors = np.ascontiguousarray(vectors, np.float32)
        self.faiss = faiss.IndexFlatIP(self.vectors.shape[1])
        self.faiss.add(self.vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids (m, n) of the n nearest contents of queries (m, d), nearest first, and their distances (m, n), 0..2."""
        cosine, ids = self.faiss.search(np.ascontiguousarray(queries, np.float32), n)
        return ids, np.sqrt(np.clip(2 - 2 * cosine, 0, 4))
