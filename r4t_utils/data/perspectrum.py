"""Perspectrum (Chen et al. 2019): claims, sentences that take a position on them, and people's clusters of those.

The folder is data/dataset of CogComp/perspectrum, or holds its three files named in ``OFFICIAL``, as published (the
data's licence: CC BY-SA 4.0). A claim is a broad query, the pool's sentences are the contents of both tasks, a cluster
of perspectives that people judged equivalent is a subtopic, and all of a claim's perspectives are its reference set Y.
The published split is kept, save for near-duplicate claims on two sides of it (`labelled.assemble`). Claims of
different splits may still share sentences: ``oar["apart"]`` marks held-out claims that share none with training.
"""

import json
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from r4t_utils.data.corpus import Corpus
from r4t_utils.data.labelled import assemble, reference_sets, smaller
from r4t_utils.data.polyvore import DataError, blob_id
from r4t_utils.settings import fault

ANSWERS, POOL, SPLIT = "perspectrum_with_answers_v1.0.json", "perspective_pool_v1.0.json", "dataset_split_v1.0.json"
# git blob ids of the official files, in CogComp/perspectrum at b42c27b85f20f2a35c0a0895698fa242ccf160ab
OFFICIAL = {
    ANSWERS: "b486174457e54b1cf210ae89195855297eb3f068",
    POOL: "12034893fdc4b726365402ae49fb9291565f4411",
    SPLIT: "5a260461205601d79e0bbee7c575caae153db78a",
}
REMEDY = "clone github.com/CogComp/perspectrum and give its folder data/dataset"
SPLIT_NAMES = {"train": "train", "dev": "validation", "test": "test"}


class Cluster(BaseModel):
    pids: Annotated[list[int], Field(min_length=1)]
    stance_label_3: str


class Claim(BaseModel):
    """One entry of the answers; other keys are ignored."""

    cId: int
    text: str
    source: str
    perspectives: list[Cluster]


class Sentence(BaseModel):
    pId: int
    text: str
    source: str


def label(folder: Path) -> str:
    """ "perspectrum". Raises DataError where a file is missing, or not the official one to the byte."""
    _read(folder)
    return "perspectrum"


def load(folder: Path, n_queries: int, max_contents: int = 0) -> Corpus:
    """The corpus of a folder: n_queries claims at most, and all contents or, for a wiring check, fewer.

    Raises DataError as ``label`` does, and where a claim has no perspectives, or one that the pool lacks.
    """
    files = _read(folder)
    claims = _parsed(folder / ANSWERS, files[ANSWERS], list[Claim])
    pool = _parsed(folder / POOL, files[POOL], list[Sentence])
    split = _parsed(folder / SPLIT, files[SPLIT], dict[str, str])
    row = {sentence.pId: i for i, sentence in enumerate(pool)}
    for claim in claims:
        where = f"{folder / ANSWERS}: claim cId={claim.cId} ({claim.text!r:.80})"
        if not claim.perspectives:
            raise DataError(f"{where} has no perspectives, so nothing is relevant to it", REMEDY)
        if unknown := [pid for cluster in claim.perspectives for pid in cluster.pids if pid not in row]:
            raise DataError(f"{where} names pId={unknown[0]}, which {POOL} lacks", REMEDY)
        if split.get(str(claim.cId)) not in SPLIT_NAMES:
            raise DataError(f"{where} has no split in {SPLIT}; it must be one of {', '.join(SPLIT_NAMES)}", REMEDY)
    facts = [(str(c.cId), " ".join(c.text.split()), c.source, SPLIT_NAMES[split[str(c.cId)]]) for c in claims]
    queries = pd.DataFrame(facts, columns=["id", "query", "family", "split"])
    judged = [
        (str(claim.cId), row[pid], f"{number} {cluster.stance_label_3.lower()}")
        for claim in claims
        for number, cluster in enumerate(claim.perspectives)
        for pid in dict.fromkeys(cluster.pids)
    ]
    qrels = pd.DataFrame(judged, columns=["query", "content", "subtopic"])
    contents = pd.DataFrame([(" ".join(s.text.split()), s.source) for s in pool], columns=["title", "category"])
    contents, queries, qrels = smaller(contents, queries, qrels, n_queries, max_contents)
    corpus = assemble("perspectrum", contents, queries, qrels, reference_sets(qrels))
    print(f"near-duplicate claims: {corpus.oar.attrs['moved']} moved to the earlier split of their group")
    return corpus


def _read(folder: Path) -> dict[str, bytes]:
    """The bytes of the three files, each the official one."""
    if not folder.is_dir():
        raise DataError(f"data folder {folder} is missing or no folder", REMEDY)
    found = {}
    for name, official in OFFICIAL.items():
        try:
            found[name] = (folder / name).read_bytes()
        except FileNotFoundError:
            raise DataError(f"data folder {folder} lacks {name}", REMEDY) from None
        except OSError as error:
            raise DataError(f"{folder / name} cannot be read ({error})", REMEDY) from None
        if (given := blob_id(found[name])) != official:
            rule = f"its git blob id is {given}, that of the official file {official}"
            raise DataError(f"{folder / name} is not the official file: {rule}", REMEDY)
    return found


def _parsed(path: Path, data: bytes, kind):
    try:
        return TypeAdapter(kind).validate_python(json.loads(data))
    except ValidationError as errors:
        raise DataError(f"{path}: {fault(errors.errors()[0])}", REMEDY) from None
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error})", REMEDY) from None
