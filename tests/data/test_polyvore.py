import gzip
import json
import time
from pathlib import Path

import pytest

from r4t_utils.data import polyvore, polyvore_queries
from r4t_utils.data import sources as datasets
from r4t_utils.data.corpus import Corpus
from r4t_utils.data.language import fashion
from r4t_utils.data.splits import near_duplicate_groups
from r4t_utils.data.text import topic_words
from r4t_utils.run.paths import ROOT
from r4t_utils.settings import CorpusSettings

SUBSET = Path(ROOT.parent, "shared", "data", "polyvore_subset")
SETTINGS = CorpusSettings(n_outfits=2400, n_oar_queries=2400, n_wscr_queries=2400, max_outfits=0)


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
        assert all(fashion().terms(query) for query in table["query"])
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
    with pytest.raises(ValueError, match="'films'.*choose one of sample, polyvore, perspectrum, jsonl"):
        datasets.load("films", None, settings)
    with pytest.raises(ValueError, match="data_dir=None.*read from a folder: give its path"):
        datasets.label("polyvore", None)
