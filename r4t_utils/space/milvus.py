"""An index whose vectors lie in Milvus (extra ``milvus``): embedded (a local file), on one server, or in a cluster.

The same client talks to all three, so what was tried on a laptop is searched by a cluster when its address is given.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from pymilvus import DataType, MilvusClient

from r4t_utils.machine.checks import whole
from r4t_utils.space.index import SearchFailed, among, unit_rows

MOST = 16_384  # results of a search that Milvus gives
BATCH = 1000  # contents sent, and queries asked, at once
NAMED = 64  # characters of a space's name, at most


class MilvusIndex:
    """Contents 0, 1, ... of a collection that `create` made; it is searched as an `Index` is (`Searchable`).

    `uri`: a file such as contents.db for the embedded engine, or http://host:19530. Raises ValueError for an engine
    that does not answer, or a collection that is not there or was not made by `create`.
    """

    def __init__(self, uri: str, collection: str, **options: Any):
        self.uri, self.collection = uri, collection
        with _plain(f"Milvus at {uri!r}"):
            self.client: Any = MilvusClient(uri, **options)
            found = self.client.has_collection(collection)
        if not found:
            raise ValueError(f"Milvus at {uri!r} has no collection {collection!r}; make it with MilvusIndex.create")
        with _plain(f"collection {collection!r} of {uri!r}"):
            fields = {field["name"]: field for field in self.client.describe_collection(collection)["fields"]}
            if set(fields) != {"id", "vector", "space"}:
                raise ValueError(f"it has the fields {', '.join(fields)}; make it with MilvusIndex.create")
            self.d = int(fields["vector"]["params"]["dim"])
            self._number = int(self.client.get_collection_stats(collection)["row_count"])
            self.space = str(self.client.get(collection, ids=[0], output_fields=["space"])[0]["space"])

    @classmethod
    def create(cls, uri: str, collection: str, vectors: np.ndarray, space: str = "", **options: Any) -> "MilvusIndex":
        """Stores unit vectors (n, d) with the ids 0..n-1, and `space`, the name of their encoder's.

        Searched exactly in the embedded engine and on a server; give the collection another index there once it is
        large. What is cut short leaves no collection. Raises ValueError for a collection that exists, vectors that an
        `Index` refuses, or a `space` of more than NAMED characters.
        """
        vectors = unit_rows("vectors", vectors, (None, None))
        whole("number of vectors", len(vectors), 1)
        whole("length of the space's name", len(space), 0, NAMED, "more does not fit its field")
        with _plain(f"Milvus at {uri!r}"):
            client: Any = MilvusClient(uri, **options)
            try:
                if client.has_collection(collection):
                    raise ValueError(f"collection {collection!r} is there already; drop it first, or name another")
                cls._fill(client, collection, vectors, space)
            finally:
                client.close()
        return cls(uri, collection, **options)

    @staticmethod
    def _fill(client: Any, collection: str, vectors: np.ndarray, space: str) -> None:
        """Makes the collection, or leaves none."""
        schema = client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
        schema.add_field("space", DataType.VARCHAR, max_length=NAMED)
        index = client.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="IP")
        try:
            client.create_collection(collection, schema=schema, index_params=index)
            for start in range(0, len(vectors), BATCH):
                rows = enumerate(vectors[start : start + BATCH].tolist(), start)
                client.insert(collection, [{"id": i, "vector": vector, "space": space} for i, vector in rows])
            client.flush(collection)
        except BaseException:
            client.drop_collection(collection)
            raise

    def __len__(self) -> int:
        return self._number

    def search(self, queries: np.ndarray, n: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As `Index.search`, for n of at most MOST. Raises SearchFailed where the engine finds fewer: an approximate
        index of its own may."""
        allowed = among(allowed, len(self))
        contents = len(self) if allowed is None else len(allowed)
        n = whole("n", n, 1, min(contents, MOST), f"there are {contents} contents, and Milvus gives at most {MOST}")
        queries = unit_rows("queries", queries, (None, self.d))
        inside = "" if allowed is None else f"id in {allowed.tolist()}"
        found: list[Sequence[Any]] = []
        with _plain(f"collection {self.collection!r} of {self.uri!r}"):
            for start in range(0, len(queries), BATCH):
                data = queries[start : start + BATCH].tolist()
                found += self.client.search(self.collection, data, limit=n, output_fields=["id"], filter=inside)
        if (fewest := min(map(len, found), default=n)) < n:
            why = f"the engine found {fewest} of the {n} nearest contents"
            raise SearchFailed(f"collection {self.collection!r}: {why}; let its index look at more candidates")
        ids = np.array([[hit["id"] for hit in row] for row in found], np.int64).reshape(len(queries), n)
        cosine = np.array([[hit["distance"] for hit in row] for row in found], np.float32).reshape(len(queries), n)
        order = np.lexsort((ids, -cosine))  # of equals the first id, as in an `Index`
        ids, cosine = (np.take_along_axis(each, order, 1) for each in (ids, cosine))
        return ids, np.sqrt(2 - 2 * np.clip(cosine, -1, 1))

    def take(self, ids: np.ndarray) -> np.ndarray:
        """The vectors (..., d) of contents (...). Raises SearchFailed where the engine has lost one."""
        different, place = np.unique(ids, return_inverse=True)
        vectors: dict[int, Sequence[float]] = {}
        with _plain(f"collection {self.collection!r} of {self.uri!r}"):
            for start in range(0, len(different), BATCH):
                asked = different[start : start + BATCH].tolist()
                rows = self.client.get(self.collection, ids=asked, output_fields=["vector"])
                vectors |= {row["id"]: row["vector"] for row in rows}
        if lost := [i for i in different.tolist() if i not in vectors]:
            raise SearchFailed(f"collection {self.collection!r} has no content {lost[0]} any more; make it anew")
        stacked = np.array([vectors[i] for i in different.tolist()], np.float32).reshape(-1, self.d)
        return stacked[place.reshape(np.shape(ids))]


@contextmanager
def _plain(what: str) -> Iterator[None]:
    """Whatever goes wrong inside is one SearchFailed that says where."""
    try:
        yield
    except Exception as error:  # of the client, of gRPC or of the engine, by version
        reason = " ".join(str(error).split())
        raise SearchFailed(f"{what}: {reason}") from None
