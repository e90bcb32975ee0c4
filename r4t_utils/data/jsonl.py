"""Anyone's own data, in JSON lines: contents.jsonl, queries.jsonl and, where there are any, sets.jsonl and qrels.txt.

A line of contents.jsonl has an id and a text (and a category); one of queries.jsonl an id and a text (and a split); one
of sets.jsonl a query and the contents that answer it together, its reference set Y. A line of qrels.txt is a TREC
diversity judgement, "query subtopic content relevance", relevant where that is above 0. With qrels.txt the label judge
scores; without it, the embedding judge. WSCR takes Y from sets.jsonl, for queries that it leaves out from the relevant
contents of qrels.txt, so one of the two files is needed. Splits are given for every query or for none, and are 8:1:1
then; near-duplicate queries stay together either way (`labelled.assemble`).
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from r4t_utils.data.corpus import Corpus
from r4t_utils.data.labelled import assemble, reference_sets
from r4t_utils.data.polyvore import DataError
from r4t_utils.data.text import clean
from r4t_utils.settings import fault

CONTENTS, QUERIES, SETS, QRELS = "contents.jsonl", "queries.jsonl", "sets.jsonl", "qrels.txt"


def _words(text: str) -> str:
    if not clean(text):
        raise ValueError("has no Latin letter or digit, which near-duplicates are found by")
    return " ".join(text.split())


def _plain(text: str) -> str:
    if not re.fullmatch(r"\S+", text):
        raise ValueError("must be one word without spaces, as TREC files have it")
    return text


Id = Annotated[str, BeforeValidator(lambda v: str(v) if type(v) is int else v), AfterValidator(_plain)]
Words = Annotated[str, AfterValidator(_words)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Content(_Row):
    id: Id
    text: Words
    category: str = ""


class Query(_Row):
    id: Id
    text: Words
    split: Literal["train", "validation", "test"] | None = None


class ReferenceSet(_Row):
    query: Id
    contents: Annotated[list[Id], Field(min_length=1)]


def label(folder: Path, k: int = 1) -> str:
    """ "jsonl-<folder name>", by which data sets are told apart, with every file checked: all errors of ``load``,
    fewer contents than k directions need, 5 k, and fewer queries of a split than two."""
    contents, queries, sets, qrels = _read(folder, k)
    try:
        assemble(folder.name, contents, queries, qrels, sets).require(k)
    except ValueError as error:
        raise DataError(f"data folder {folder}: {error}", "see docs/own_data.md") from None
    return "jsonl-" + re.sub(r"[^\w.-]+", "-", folder.resolve().name)


def load(folder: Path, n_queries: int) -> Corpus:
    """The corpus of a folder; of more than n_queries queries, as many drawn with a fixed seed.

    Raises DataError, which names file, line, rule and remedy: a missing file, another encoding than UTF-8, a broken
    line, an unknown, missing or wrong key, an id given twice, a text without words, a set or a judgement for an unknown
    query or content, splits for some queries only, or neither sets nor judgements.
    """
    contents, queries, sets, qrels = _read(folder)
    if len(queries) > n_queries:
        queries = queries.sample(n_queries, random_state=2603).sort_index()
    corpus = assemble(label(folder), contents, queries, qrels, sets)
    print(f"near-duplicate queries: {corpus.oar.attrs['moved']} moved to the earlier split of their group")
    return corpus


def _read(folder: Path, k: int = 1):
    """Contents, queries, reference sets and judgements, checked against one another."""
    if not folder.is_dir():
        raise DataError(f"data folder {folder} is missing or no folder", f"give the one with {CONTENTS} and {QUERIES}")
    row: dict[str, int] = {}
    contents, queries, sets = [], {}, {}
    for where, content in _lines(folder / CONTENTS, Content):
        if content.id in row:
            raise DataError(
                f"{where}: id={content.id!r} is also on an earlier line; an id names one content", "rename it"
            )
        row[content.id] = len(row)
        contents.append((content.text, content.category))
    if len(contents) < 5 * k:
        rule = f"k={k} directions need at least {5 * k}"
        raise DataError(f"{folder / CONTENTS}: has {len(contents)} contents; {rule}", "add contents or lower folm.k")
    for where, query in _lines(folder / QUERIES, Query):
        if query.id in queries:
            raise DataError(f"{where}: id={query.id!r} is also on an earlier line; an id names one query", "rename it")
        queries[query.id] = query
        first = next(iter(queries.values()))
        if (query.split is None) != (first.split is None):
            rule = f"query {first.id!r} has {'no' if first.split is None else 'a'} split, this one the opposite"
            raise DataError(f"{where}: split={query.split!r}, but {rule}", "give every query a split, or none")
    if (folder / SETS).exists():
        for where, given in _lines(folder / SETS, ReferenceSet):
            _known(where, "query", given.query, queries, QUERIES)
            for name in given.contents:
                _known(where, "content", name, row, CONTENTS)
            if given.query in sets:
                raise DataError(f"{where}: query={given.query!r} has a set on an earlier line", "join the two sets")
            sets[given.query] = [row[name] for name in dict.fromkeys(given.contents)]
    qrels = _judgements(folder / QRELS, queries, row) if (folder / QRELS).exists() else None
    if qrels is not None:
        sets = reference_sets(qrels) | sets
    if not sets:
        rule = f"WSCR needs reference sets, and neither {SETS} nor {QRELS} is there"
        raise DataError(
            f"data folder {folder}: {rule}", f'add {SETS}, a line per query: {{"query": ..., "contents": [...]}}'
        )
    labelled = set() if qrels is None else set(qrels["query"])
    held_out = [] if qrels is None else [q for q in queries.values() if q.split in ("validation", "test")]
    if unscored := [q for q in held_out if q.id not in labelled]:
        rule = f"query {unscored[0].id!r} is scored (split={unscored[0].split!r}), but nothing is relevant to it"
        raise DataError(f"{folder / QRELS}: {rule}", f"judge contents for it, or put it into train in {QUERIES}")
    table = pd.DataFrame(
        [(q.id, q.text, "query", q.split) for q in queries.values()], columns=["id", "query", "family", "split"]
    )
    return pd.DataFrame(contents, columns=["title", "category"]), table, sets, qrels


def _known(where: str, what: str, name: str, known, file: str) -> None:
    if name not in known:
        raise DataError(f"{where}: {what} {name!r} is not an id of {file}", f"correct it, or add it to {file}")


def _lines(path: Path, model) -> Iterator:
    """(place, row) of every line that is not blank."""
    rows = 0
    for where, line in _text(path):
        try:
            row = model.model_validate(json.loads(line))
        except ValidationError as errors:
            keys = f"the keys are {', '.join(model.model_fields)}"
            raise DataError(f"{where}: {fault(errors.errors()[0])}; {keys}", "correct the line") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where} is not one JSON object ({error}): {line!r:.80}", "correct the line") from None
        rows += 1
        yield where, row
    if not rows:
        raise DataError(f"{path} has no line", "write one JSON object per line")


def _text(path: Path) -> Iterator[tuple[str, str]]:
    """(place, text) of every line that is not blank; a byte order mark is passed over."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"data folder {path.parent} lacks {path.name}", "write it, or correct the folder") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error})", "restore it") from None
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        where = f"{path}: line {number}"
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            raise DataError(f"{where} is not UTF-8 ({error.reason}): {line!r:.80}", "save the file as UTF-8") from None
        if text:
            yield where, text


def _judgements(path: Path, queries, row: dict[str, int]) -> pd.DataFrame:
    """What is relevant: query, content, subtopic; judgements of 0 or less say that nothing is."""
    found = {}
    for where, line in _text(path):
        parts = line.split()
        if len(parts) != 4 or not re.fullmatch("-?[0-9]{1,9}", parts[3]):
            rule = 'must be "query subtopic content relevance", the last a whole number'
            raise DataError(f"{where}={line!r:.80} {rule}", "correct the line")
        query, subtopic, content, relevance = parts
        _known(where, "query", query, queries, QUERIES)
        _known(where, "content", content, row, CONTENTS)
        key = (query, row[content], subtopic)
        if found.setdefault(key, relevance) != relevance:
            rule = (
                f"query {query!r}, subtopic {subtopic!r} and content {content!r} have {found[key]} on an earlier line"
            )
            raise DataError(f"{where}: relevance {relevance}, but {rule}", "keep one of them")
    relevant = [key for key, relevance in found.items() if int(relevance) > 0]
    if not relevant:
        raise DataError(f"{path} has no judgement above 0, so nothing is relevant", "add some, or remove the file")
    return pd.DataFrame(relevant, columns=["query", "content", "subtopic"])
