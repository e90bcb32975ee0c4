"""Anyone's own data: what is read, how it is split, and what every kind of bad file is told."""

import json

import pandas as pd
import pytest
import recipes

from r4t_utils.data import jsonl, sources
from r4t_utils.data.corpus import Corpus
from r4t_utils.data.polyvore import DataError

NINE = {f"q{i}" for i in range(9)}


@pytest.fixture
def folder(tmp_path):
    return recipes.write(tmp_path / "my recipes")


def edit(folder, name, change):
    """Applies `change` to the list of a file's lines."""
    path = folder / name
    lines = path.read_text().splitlines() if path.exists() else []
    path.write_text("\n".join(change(lines)) + "\n")


def test_the_example_is_read_whole(folder):
    contents, queries, sets, judged = recipes.rows()
    corpus = jsonl.load(folder, 1000).require(10)
    assert corpus.name == jsonl.label(folder, 10) == "jsonl-my-recipes"
    assert corpus.items.title.tolist() == [row["text"] for row in contents]
    assert corpus.collections["items"].tolist() == [[i] for i in range(256)]
    assert set(corpus.oar["id"]) == {row["id"] for row in queries} == set(corpus.wscr["id"])
    assert len(corpus.qrels) == sum(line.endswith(" 1") for line in judged) < len(judged)
    given = {row["query"]: [int(c[1:]) for c in row["contents"]] for row in sets}
    for row in corpus.wscr.itertuples():
        mine = corpus.qrels.loc[corpus.qrels["query"] == row.id, "content"]
        assert list(row.items) == given.get(row.id, sorted(set(mine)))  # a given set goes before labels


def test_too_few_queries_are_named_before_any_notebook(folder):
    edit(folder, "queries.jsonl", lambda lines: lines[:9])
    edit(folder, "sets.jsonl", lambda lines: [line for line in lines if json.loads(line)["query"] in NINE])
    edit(folder, "qrels.txt", lambda lines: [line for line in lines if line.split()[0] in NINE])
    with pytest.raises(DataError, match=r"data folder .*my recipes: .* leaves the .* split of .* 8:1:1 split needs"):
        sources.label("jsonl", folder, 10)


def test_splits_are_811_and_keep_groups_together(folder):
    oar = jsonl.load(folder, 1000).oar
    assert (oar.groupby("group")["split"].nunique() == 1).all()
    assert 0.7 < (oar["split"] == "train").mean() < 0.9
    assert oar.attrs["moved"] == 0


def test_given_splits_are_kept_save_for_near_duplicates(folder):
    def change(lines):
        rows = [json.loads(line) for line in lines]
        rows.append({"id": "twin", "text": rows[40]["text"].upper() + " for the"})
        names = ["train"] * 40 + ["test"] * 30 + ["validation"] * 10 + ["train"]
        return [json.dumps(row | {"split": name}) for row, name in zip(rows, names)]

    edit(folder, "queries.jsonl", change)
    edit(folder, "qrels.txt", lambda lines: [*lines, "twin pie r3 1"])
    oar = jsonl.load(folder, 1000).oar.set_index("id")
    assert oar["group"]["twin"] == oar["group"]["q40"]
    assert oar["split"]["q40"] == oar["split"]["twin"] == "train"
    assert oar["split"]["q41":"q69"].eq("test").all() and oar["split"]["q70":"q79"].eq("validation").all()
    assert oar.attrs["moved"] == 1 and (oar.groupby("group")["split"].nunique() == 1).all()


def test_without_labels_the_sets_alone_are_enough_and_the_reverse(tmp_path):
    sets_only = jsonl.load(recipes.write(tmp_path / "s", qrels=False), 1000)
    assert sets_only.qrels is None and len(sets_only.wscr) == 50 and "apart" not in sets_only.oar
    labels_only = jsonl.load(recipes.write(tmp_path / "q", sets=False), 1000)
    assert labels_only.qrels is not None and len(labels_only.wscr) == 80
    with pytest.raises(DataError, match="WSCR needs reference sets, and neither sets.jsonl nor qrels.txt is there"):
        jsonl.label(recipes.write(tmp_path / "n", sets=False, qrels=False))


def test_an_unlabelled_query_teaches_and_is_not_scored(folder):
    edit(folder, "qrels.txt", lambda lines: [line for line in lines if int(line.split()[0][1:]) % 4])
    oar = jsonl.load(folder, 1000).oar
    labelled = oar["id"].str[1:].astype(int) % 4 > 0
    assert (oar.loc[~labelled, "split"] == "train").all() and (~labelled).any() and (oar["split"] == "test").any()


def test_integer_ids_blank_lines_and_a_byte_order_mark_are_read(folder):
    lines = (folder / "contents.jsonl").read_text().replace('"id": "r', '"id": "')
    (folder / "contents.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.replace("\n", "\r\n\r\n").encode())
    for name in ("sets.jsonl", "qrels.txt"):
        (folder / name).write_text((folder / name).read_text().replace('"r', '"').replace(" r", " "))
    assert len(jsonl.load(folder, 1000).items) == 256


def test_fewer_queries_are_drawn_alike(folder):
    one, two = (jsonl.load(folder, 30).oar for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    assert len(one) == 30


def test_the_corpus_survives_saving(folder, tmp_path):
    corpus = jsonl.load(folder, 1000)
    corpus.save(tmp_path)
    again = Corpus.load(tmp_path)
    assert again.speaks == "own words" and again.language == corpus.language
    pd.testing.assert_frame_equal(again.qrels, corpus.qrels)
    assert [list(x) for x in again.wscr["items"]] == [list(x) for x in corpus.wscr["items"]]
    (tmp_path / "qrels.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match="qrels.parquet cannot be read: cut short"):
        Corpus.load(tmp_path)
    (tmp_path / "qrels.parquet").unlink()
    with pytest.raises(ValueError, match="qrels.parquet is missing"):
        Corpus.load(tmp_path)
    (tmp_path / "corpus.json").write_text('{"name": "old"}')
    with pytest.raises(ValueError, match="corpus.json is not of this version"):
        Corpus.load(tmp_path)
    corpus.save(tmp_path)
    corpus.oar.drop(columns="group").to_parquet(tmp_path / "oar.parquet")
    with pytest.raises(ValueError, match="oar.parquet has no column group"):
        Corpus.load(tmp_path)


BAD = [  # file, line, what is put in its place, what the error says
    ("contents.jsonl", 3, '{"id": "r2", "text": "soup"', ["contents.jsonl: line 3 is not one JSON object"]),
    ("contents.jsonl", 3, '["r2", "soup"]', ["contents.jsonl: line 3", "is not a mapping"]),
    (
        "contents.jsonl",
        3,
        '{"text": "soup"}',
        ["contents.jsonl: line 3: id is missing; the keys are id, text, category"],
    ),
    ("contents.jsonl", 3, '{"id": "r0", "text": "soup"}', ["line 3: id='r0' is also on an earlier line"]),
    ("contents.jsonl", 3, '{"id": "r 2", "text": "soup"}', ["line 3: id='r 2' must be one word without spaces"]),
    ("contents.jsonl", 3, '{"id": "r2", "text": "soup", "tags": []}', ["line 3: tags is not known"]),
    ("contents.jsonl", 3, '{"id": "r2", "text": 7}', ["line 3: text=7 is not text"]),
    ("contents.jsonl", 3, '{"id": "r2", "text": " -- "}', ["line 3: text=' -- ' has no Latin letter or digit"]),
    ("queries.jsonl", 2, '{"id": "q1"}', ["queries.jsonl: line 2: text is missing"]),
    ("queries.jsonl", 2, '{"id": "q1", "text": ""}', ["queries.jsonl: line 2: text='' has no Latin letter"]),
    ("queries.jsonl", 2, '{"id": "q0", "text": "warm soup"}', ["queries.jsonl: line 2: id='q0' is also on an earlier"]),
    (
        "queries.jsonl",
        2,
        '{"id": "q1", "text": "soup", "split": "test"}',
        ["line 2: split='test'", "every query a split"],
    ),
    ("queries.jsonl", 2, '{"id": "q1", "text": "soup", "split": "dev"}', ["line 2: split='dev' must be 'train'"]),
    (
        "sets.jsonl",
        1,
        '{"query": "q0", "contents": ["r1", "nix"]}',
        ["sets.jsonl: line 1: content 'nix' is not an id of"],
    ),
    (
        "sets.jsonl",
        1,
        '{"query": "nix", "contents": ["r1"]}',
        ["sets.jsonl: line 1: query 'nix' is not an id of queries"],
    ),
    ("sets.jsonl", 1, '{"query": "q0", "contents": []}', ["sets.jsonl: line 1: contents"]),
    (
        "sets.jsonl",
        2,
        '{"query": "q0", "contents": ["r1"]}',
        ["sets.jsonl: line 2: query='q0' has a set on an earlier"],
    ),
    ("qrels.txt", 4, "nix a r1 1", ["qrels.txt: line 4: query 'nix' is not an id of queries.jsonl"]),
    ("qrels.txt", 4, "q0 a nix 1", ["qrels.txt: line 4: content 'nix' is not an id of contents.jsonl"]),
    ("qrels.txt", 4, "q0 a r1", ["qrels.txt: line 4='q0 a r1' must be \"query subtopic content relevance\""]),
    ("qrels.txt", 4, "q0 a r1 high", ["line 4='q0 a r1 high'", "whole number"]),
]


@pytest.mark.parametrize("name, number, text, says", BAD)
def test_a_bad_line_is_named_with_file_line_rule_and_remedy(folder, name, number, text, says):
    edit(folder, name, lambda lines: [*lines[: number - 1], text, *lines[number:]])
    with pytest.raises(DataError) as error:
        jsonl.label(folder)
    message = str(error.value)
    assert all(part in message for part in [str(folder), *says]) and "\n" not in message, message


def test_other_bad_folders(folder, tmp_path):
    with pytest.raises(DataError, match="has 256 contents; k=60 directions need at least 300: add contents or lower"):
        jsonl.label(folder, 60)
    with pytest.raises(ValueError, match="k=60 directions"):
        sources.label("jsonl", folder, 60)
    for name, words in (("queries.jsonl", "lacks queries.jsonl"), ("contents.jsonl", "lacks contents.jsonl")):
        (folder / name).rename(tmp_path / name)
        with pytest.raises(DataError, match=words):
            jsonl.label(folder)
        (tmp_path / name).rename(folder / name)
    (folder / "queries.jsonl").write_text("\n")
    with pytest.raises(DataError, match="queries.jsonl has no line"):
        jsonl.label(folder)
    (folder / "queries.jsonl").write_bytes('{"id": "q0", "text": "soupe \u00e0 l\u2019ail"}\n'.encode("utf-16"))
    with pytest.raises(DataError, match="queries.jsonl: line 1 is not UTF-8.*save the file as UTF-8"):
        jsonl.label(folder)
    with pytest.raises(DataError, match="is missing or no folder"):
        jsonl.label(tmp_path / "none")


def test_contradicting_or_empty_judgements(folder):
    edit(folder, "qrels.txt", lambda lines: [*lines, lines[0][:-1] + "0"])
    with pytest.raises(DataError, match="relevance 0, but .* have 1 on an earlier line: keep one"):
        jsonl.label(folder)
    edit(folder, "qrels.txt", lambda lines: [line for line in lines if line.endswith("0")][:-1])
    with pytest.raises(DataError, match="no judgement above 0"):
        jsonl.label(folder)


def test_a_scored_query_needs_labels(folder):
    def change(lines):
        return [json.dumps(json.loads(line) | {"split": "test" if i == 5 else "train"}) for i, line in enumerate(lines)]

    edit(folder, "queries.jsonl", change)
    edit(folder, "qrels.txt", lambda lines: [line for line in lines if not line.startswith("q5 ")])
    with pytest.raises(DataError, match="query 'q5' is scored .split='test'., but nothing is relevant to it"):
        jsonl.label(folder)
