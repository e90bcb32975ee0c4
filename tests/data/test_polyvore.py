import gzip
import json
import time
from pathlib import Path

import pytest

from r4t_utils.data import polyvore, polyvore_queries
from r4t_utils.data import sources as datasets
from r4t_utils.data.corpus import Corpus
from r4t_utils.data.splits import near_duplicate_groups
from r4t_utils.data.text import topic_words
from r4t_utils.run.paths import ROOT
from r4t_utils.settings import CorpusSettings

SUBSET = Path(ROOT.parent, "shared", "data", "polyvore_subset")
SETTINGS = CorpusSettings(n_outfits=2400, n_oar_queries=2400, n_wscr_queries=2400, max_outfits=0)
ITEMS = ("striped casual shirt", "denim skirt", "leather boots", "canvas tote bag", "gold ring")


def outfit(title="Boho Rocker", names=ITEMS):
    return {
        "set_id": "1",
        "name": title,
        "items": [{"index": i, "name": n, "categoryid": 40 + i} for i, n in enumerate(names)],
    }


def write(folder, outfits, name="train_no_dup.json"):
    data = json.dumps(outfits).encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return data


@pytest.fixture(scope="module")
def subset():
    if not SUBSET.is_dir():
        pytest.skip("the Polyvore subset is not beside this repository")
    start = time.perf_counter()
    corpus = datasets.load("polyvore", SUBSET, SETTINGS)
    assert time.perf_counter() - start < 20
    return corpus


def test_the_subset_has_the_contract_of_a_corpus(subset):
    assert subset.require(10) is subset
    assert subset.name == datasets.label("polyvore", SUBSET) == "polyvore-subset"
    members = [i for ids in subset.collections["items"] for i in ids]
    assert members == list(range(len(subset.items)))  # every item belongs to one outfit
    assert subset.collections["items"].map(len).min() >= polyvore.MIN_ITEMS
    assert subset.items.title.str.strip().ne("").all() and subset.items.title.duplicated().any()
    assert len(subset.collections) + subset.collections.attrs["dropped"] == 5787 + 1495
    assert len(subset.collections) == sum(
        sum(bool(item["name"].strip()) for item in entry["items"]) >= 4
        for path in SUBSET.glob("*.json.gz")
        for entry in json.loads(gzip.decompress(path.read_bytes()))
    )


def test_queries_of_the_subset_are_curated(subset):
    for table, longest in ((subset.oar, 6), (subset.wscr, 8)):
        assert len(table) == 2400 and table["query"].is_unique
        assert table["query"].str.fullmatch("[a-z]+( [a-z]+)+").all()
        assert table["query"].str.split().map(len).between(2, longest).all()
        assert all(polyvore_queries.terms(query) for query in table["query"])
    assert set(subset.oar.family) == {"title", "recombined"} and "intent" not in subset.oar
    for row in subset.wscr.itertuples():
        assert list(row.items) == list(subset.collections["items"][row.collection])
    own = {polyvore_queries.clean(title) for title in subset.collections.title}
    assert ((subset.oar.family == "title") == subset.oar["query"].isin(own)).all()


def test_no_near_duplicates_across_splits_of_the_subset(subset):
    for table in (subset.oar, subset.wscr):
        shares = table.split.value_counts(normalize=True)
        assert abs(shares["train"] - 0.8) < 0.02 and abs(shares["test"] - 0.1) < 0.02
        groups = near_duplicate_groups(table["query"].tolist())
        assert table.groupby(groups).split.nunique().max() == 1
        train = [topic_words(query) for query in table["query"][table.split == "train"]]
        for query in table["query"][table.split == "test"]:  # by brute force too
            words = topic_words(query)
            assert max(len(words & other) / max(1, len(words | other)) for other in train) < 0.8


def test_an_encoder_learns_from_no_outfit_that_is_asked_for_in_evaluation(subset):
    """Queries are titles here: a pair of title and outfit could be a test query with its answer."""
    taught = subset.collections[subset.training_collections()]
    for table in (subset.oar, subset.wscr):
        held_out = table[table.split != "train"]
        assert not set(taught.title.map(polyvore_queries.clean)) & set(held_out["query"])
    assert not set(taught.index) & set(held_out.collection)
    assert 0.5 < len(taught) / len(subset.collections) < 1


def test_loading_twice_gives_the_same_corpus(subset, tmp_path):
    again = datasets.load("polyvore", SUBSET, SETTINGS)
    subset.save(tmp_path)
    saved = Corpus.load(tmp_path)
    for table in ("items", "collections", "oar", "wscr"):
        rows = getattr(subset, table).to_json(orient="records")
        assert getattr(again, table).to_json(orient="records") == rows
        assert getattr(saved, table).to_json(orient="records") == rows


def test_max_outfits_caps_the_database(subset):
    few = polyvore.load(SUBSET, 400, 400, max_outfits=400)
    assert len(few.collections) == 400 and len(few.items) == few.collections["items"].map(len).sum()
    assert set(few.collections.title) <= set(subset.collections.title)
    few.require(10)


def test_small_outfits_and_nameless_items_are_dropped(tmp_path, capsys):
    names = ITEMS, ITEMS[:3], (*ITEMS[:3], " "), (*ITEMS, "")
    write(tmp_path, [outfit(names=own) for own in names])
    (tmp_path / "category_id.txt").write_text("40 Men's Shirts\n41 Skirts\n")
    corpus = polyvore.load(tmp_path, 20, 20)
    assert corpus.collections["items"].tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert corpus.items.title.tolist() == [*ITEMS, *ITEMS]
    assert corpus.items.category.tolist()[:3] == ["Men's Shirts", "Skirts", "category 42"]
    assert corpus.collections.attrs["dropped"] == 2
    assert corpus.oar["query"].tolist() == ["boho rocker"]
    assert corpus.wscr["query"].tolist()[0] == "boho rocker"  # the second outfit is described by its items
    assert corpus.wscr["query"].tolist()[1].endswith("casual outfit with mens shirts and skirts")
    printed = capsys.readouterr().out
    assert printed.startswith("unverified subset: train_no_dup.json in ") and printed.count("\n") == 1


def test_terms_that_meet_in_five_outfits_are_recombined(tmp_path):
    write(
        tmp_path,
        [
            outfit("Untitled #1", ("vintage jacket", "a", "b", "c")),
            *[outfit("no words", ("festival thing", "fringed thing", "x", "y"))] * 5,
        ],
    )
    corpus = polyvore.load(tmp_path, 20, 20)
    assert set(corpus.oar.family) == {"recombined"}
    assert {topic_words(q) for q in corpus.oar["query"]} <= {
        frozenset(words) for words in (("festival", "fringed"), ("festival", "fringed", "piece"))
    }
    assert not any("vintage" in query for query in corpus.oar["query"])


def test_official_files_are_known_by_their_blob_ids(tmp_path, monkeypatch, capsys):
    assert polyvore.blob_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    ids = {}
    for number, name in enumerate(polyvore.OFFICIAL):
        suffix = ".gz" * (number == 1)  # a compressed copy of an official file is official too
        ids[name] = polyvore.blob_id(write(tmp_path, [outfit()] * (number + 1), name + suffix))
    monkeypatch.setattr(polyvore, "OFFICIAL", ids)
    assert datasets.label("polyvore", tmp_path) == "polyvore" == polyvore.load(tmp_path, 20, 20).name
    assert capsys.readouterr().out == ""
    write(tmp_path, [outfit()], "test_no_dup.json")
    assert datasets.label("polyvore", tmp_path) == "polyvore-subset"
    (tmp_path / "test_no_dup.json").unlink()
    assert datasets.label("polyvore", tmp_path) == "polyvore-subset"


@pytest.mark.parametrize(
    "content, rule",
    [
        (b"[{", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"{}", "list of outfits"),
        (b"[]", "list of outfits"),
        (b"[3]", "outfit 0 must be"),
        (b'[{"items": []}]', "lacks 'name'"),
        (b'[{"name": "a", "items": null}]', "another shape"),
        (b'[{"name": "a", "items": [{"name": "b"}]}]', "lacks 'categoryid'"),
        (b'[{"name": "a", "items": [{"name": "b", "categoryid": "7"}]}]', "whole number"),
        (b'[{"name": 5, "items": []}]', "must be text"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, content, rule):
    (tmp_path / "valid_no_dup.json").write_bytes(content)
    for use in (polyvore.label, lambda folder: polyvore.load(folder, 20, 20)):
        with pytest.raises(ValueError) as error:
            use(tmp_path)
        message = str(error.value)
        assert "\n" not in message
        assert all(words in message for words in ("valid_no_dup.json", rule, "unpack"))


def test_a_truncated_gzip_an_empty_folder_and_no_folder(tmp_path):
    def refused(folder):
        with pytest.raises(ValueError) as error:
            datasets.label("polyvore", folder)
        return str(error.value)

    assert "holds none of train_no_dup.json" in refused(tmp_path)
    assert "missing" in refused(tmp_path / "nowhere")
    write(tmp_path, [outfit()], "train_no_dup.json.gz")
    whole = (tmp_path / "train_no_dup.json.gz").read_bytes()
    for broken in (whole[:-9], whole[: len(whole) // 2], b"not gzip", whole[:-8] + bytes(8)):
        (tmp_path / "train_no_dup.json.gz").write_bytes(broken)
        assert "train_no_dup.json.gz cannot be read" in refused(tmp_path)


def test_no_outfit_left_and_a_bad_category_table(tmp_path):
    write(tmp_path, [outfit(names=ITEMS[:3])])
    with pytest.raises(ValueError, match="1 outfits, none with 4 named items"):
        polyvore.load(tmp_path, 20, 20)
    (tmp_path / "category_id.txt").write_text("Skirts 7\n")
    with pytest.raises(ValueError, match="category_id.txt.*category id and its name"):
        polyvore.load(tmp_path, 20, 20)


@pytest.mark.parametrize(
    "title, meaningful",
    [
        ("Boho Rocker", "boho rocker"),
        ("Untitled #915", None),
        ("Boho", None),
        ("Boho look 3", None),
        ("Day with Jesy", None),
        ("a rainy day", "a rainy day"),
        ("Two Dresses", "two dresses"),
        ("one two three four five six boho", None),
    ],
)
def test_meaningful(title, meaningful):
    assert polyvore_queries.meaningful(title, 6) == meaningful


def test_sample_and_unknown_data_sets():
    assert datasets.label("sample", None) == "sample"
    settings = CorpusSettings(n_outfits=1200, n_oar_queries=100, n_wscr_queries=100, max_outfits=0)
    assert len(datasets.load("sample", None, settings).collections) == 1200
    with pytest.raises(ValueError, match="'films'.*sample or polyvore"):
        datasets.load("films", None, settings)
    with pytest.raises(ValueError, match="data_dir=None.*read from a folder: give its path"):
        datasets.label("polyvore", None)
