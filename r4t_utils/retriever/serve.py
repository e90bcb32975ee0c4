"""A retriever over HTTP: GET /search, /compare and /health, a page to try it, and OpenAPI at /docs."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import HTMLResponse
from pyversity import diversify

from r4t_utils.machine.checks import LONGEST
from r4t_utils.retriever.fanout import FanoutRetriever
from r4t_utils.space.index import SearchFailed

PAGE = Path(__file__).with_name("page.html")
RERANKED, STRENGTH = 100, 0.3  # contents that MMR chooses among, and how much it cares for variety
SHOWN = ("id", "title", "direction", "distance")  # of a result

Text = Annotated[str, Query(max_length=LONGEST, description="the broad request")]
Seed = Annotated[int, Query(ge=0, lt=2**32, description="another one gives another set")]


def app(retriever: FanoutRetriever) -> FastAPI:
    """The application. Wrong questions are answered by status 422 with a sentence that says what is wrong, and any by
    503 while the engine behind the index does not answer."""
    most = min(retriever.slots, len(retriever.index))
    usual = min(10, most)
    number = Annotated[int, Query(ge=1, le=most, description="different results")]
    service = FastAPI(title="FanoutRetriever", description=f"Sets of results over {len(retriever.index)} contents.")

    def answered(question: Any, *args: Any) -> pd.DataFrame:
        try:
            return question(*args)
        except SearchFailed as error:  # which says where the engine is, and that is not for everyone
            logging.getLogger("uvicorn.error").error(str(error))
            raise HTTPException(503, "the index cannot be searched now; ask again later") from None
        except ValueError as error:
            raise HTTPException(422, str(error)) from None

    @service.get("/search")
    def search(q: Text, k: number = usual, seed: Seed = 0) -> dict[str, Any]:  # pyright: ignore[reportInvalidTypeForm]
        found = answered(retriever.search, q, k, seed)
        how = {str(name): value for name, value in found.attrs.items()}
        return {"query": q, **how, "results": records(found, SHOWN)}

    @service.get("/compare")
    def compare(q: Text, k: number = usual, seed: Seed = 0) -> dict[str, Any]:  # pyright: ignore[reportInvalidTypeForm]
        ways = {"No fan-out": plain, "MMR": reranked}
        found = {name: answered(way, retriever, q, k) for name, way in ways.items()}
        found["R4T"] = answered(retriever.search, q, k, seed)
        return {"query": q, "sets": {name: records(one, ("id", "title")) for name, one in found.items()}}

    @service.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", "contents": len(retriever.index), "space": retriever.encoder.space, "most": most}

    @service.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page() -> str:
        return PAGE.read_text(encoding="utf-8")

    return service


def records(found: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    """One plain dict per result, with these columns."""
    frame: Any = found[[*columns]]
    return frame.to_dict("records")


def plain(retriever: FanoutRetriever, query: str, k: int) -> pd.DataFrame:
    """The k contents nearest to the query, as a search without a fan-out finds them: id, title."""
    return _named(retriever, retriever.index.search(retriever.encode([query]), k)[0][0])


def reranked(retriever: FanoutRetriever, query: str, k: int) -> pd.DataFrame:
    """k of the RERANKED nearest by maximal marginal relevance (Carbonell and Goldstein 1998): id, title."""
    z_q, candidates = retriever.encode([query]), min(RERANKED, len(retriever.index))
    ids, distance = (x[0] for x in retriever.index.search(z_q, candidates))
    cosine = 1 - distance**2 / 2
    chosen = diversify(retriever.index.take(ids), cosine, k, strategy="mmr", diversity=STRENGTH)
    return _named(retriever, ids[chosen.indices])


def _named(retriever: FanoutRetriever, ids: Any) -> pd.DataFrame:
    return pd.DataFrame({"id": ids, "title": [retriever.titles[i] for i in ids]})
