import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from r4t_utils.data.corpus import SPLITS, Corpus
from r4t_utils.data.sample import ATTRIBUTES, ITEM_ATTRIBUTES, generate, world
from r4t_utils.data.sample_queries import MIN_LOOKS, MIN_RELEVANT, broad_queries, outfit_queries, satisfies
from r4t_utils.data.splits import near_to
from r4t_utils.data.text import GENERIC, stem
from r4t_utils.run import profiles

FAMILIES = {
    "aesthetic themes",
    "activities",
    "seasons",
    "lifestyles",
    "moods",
    "cultural trends",
    "functional needs",
    "hybrids",
}


@pytest.fixture(scope="module")
def corpus():
    return generate(2400, 2400, 2400)


def test_sizes(corpus):
    assert len(corpus.items) >= 6000
    assert len(corpus.collections) == 2400
    assert corpus.collections["items"].map(len).between(4, 10).all()
    assert len(corpus.oar) == len(corpus.wscr) == 2400
    assert corpus.require(10) is corpus


def test_rows_are_complete_and_point_at_items(corpus):
    assert {"title", "category", *ITEM_ATTRIBUTES} <= set(corpus.items.columns)
    assert {"style", "season", "occasion", "mood", "colour", "material", "pattern"} == set(ITEM_ATTRIBUTES)
    for table in (corpus.items, corpus.collections, corpus.oar, corpus.wscr):
        assert not table.isna().any().any()
        assert (table.map(lambda x: len(str(x)) > 0)).all().all()
        assert table.index.equals(pd.RangeIndex(len(table)))
    for ids in corpus.collections["items"]:
        assert len(set(ids)) == len(ids) and 0 <= min(ids) and max(ids) < len(corpus.items)
    assert set(np.concatenate(corpus.collections["items"].to_list())) == set(range(len(corpus.items)))


def test_every_value_of_the_world_occurs(corpus):
    for attribute in ITEM_ATTRIBUTES:
        assert set(corpus.items[attribute]) <= set(world()[attribute])
    for attribute in ("category", "colour", "material", *ATTRIBUTES):
        assert set(corpus.items[attribute]) == set(world()[attribute])


def test_outfits_cohere(corpus):
    slot = {name: entry["slot"] for name, entry in world()["category"].items()}
    for row in corpus.collections.itertuples():
        own = corpus.items.iloc[row.items]
        for attribute in ATTRIBUTES:
            assert set(own[attribute]) == {getattr(row, attribute)}
        slots = [slot[category] for category in own.category]
        assert ("dress" in slots) != ("top" in slots and "bottom" in slots)
        assert slots.count("shoes") == slots.count("bag") == 1


def test_a_look_repeats_its_colours_and_garments(corpus):
    def agreement(groups, column):
        """Chance that two items of one group, from different outfits, share a value."""
        rows = [(g, values[column]) for g, ids in groups for values in [corpus.items.iloc[ids]]]
        table = pd.concat([pd.DataFrame({"g": g, "v": v.to_numpy()}) for g, v in rows])
        share = table.groupby("g").v.apply(lambda v: (v.value_counts(normalize=True) ** 2).sum())
        return share.mean()

    outfits = corpus.collections.iloc[:600]
    looks = list(zip(outfits["look"], outfits["items"], strict=True))
    shuffled = list(zip(np.random.default_rng(0).permutation(outfits["look"]), outfits["items"], strict=True))
    for column in ("colour", "category"):
        assert agreement(looks, column) > 1.3 * agreement(shuffled, column)


def test_queries_are_unique_short_and_of_every_family(corpus):
    assert corpus.oar["query"].is_unique and corpus.wscr["query"].is_unique
    assert corpus.oar["query"].str.split().map(len).between(2, 6).all()
    assert corpus.wscr["query"].str.split().map(len).between(2, 8).all()
    assert set(corpus.oar.family) == FAMILIES
    assert corpus.oar.family.value_counts().min() >= 100
    for split in SPLITS:
        assert set(corpus.queries("oar", split).family) == FAMILIES
    text = " ".join(corpus.oar["query"])
    assert "{" not in text and not any(f" {maker} " in f" {text} " for maker in world()["makers"])  # no brands


def test_every_broad_query_has_members_and_interpretations(corpus):
    rows = corpus.collections[[*ATTRIBUTES]].to_dict("records")
    for i, intent in enumerate(map(json.loads, corpus.oar.intent.unique())):
        mask = satisfies(corpus.collections, intent)
        if i % 10 == 0:
            assert mask.tolist() == [all(row[a] in values for a, values in intent.items()) for row in rows]
        assert 0 < len(intent) and set(intent) <= set(ATTRIBUTES)
        assert mask.sum() >= MIN_RELEVANT and corpus.collections["look"][mask].nunique() >= MIN_LOOKS
        assert mask.sum() < len(corpus.collections) / 2
    assert MIN_RELEVANT >= 10 and MIN_LOOKS >= 3


def test_a_query_says_its_intent(corpus):
    """Read back from the text: every condition is said by a phrase or by a form of an admissible value."""
    phrases = {text: meaning for group in world()["phrases"].values() for text, meaning in group.items()}
    for row in corpus.oar.itertuples():
        said = {a: set() for a in ATTRIBUTES}
        for text, meaning in phrases.items():
            if re.search(rf"\b{re.escape(text)}\b", row.query):
                for attribute, values in meaning.items():
                    said[attribute] |= set(values)
        for attribute in ATTRIBUTES:
            for value, entry in world()[attribute].items():
                if any(re.search(rf"\b{re.escape(form)}\b", row.query) for form in entry["forms"]):
                    said[attribute].add(value)
        for attribute, values in json.loads(row.intent).items():
            assert set(values) <= said[attribute], (row.query, row.intent)


def test_an_outfit_query_is_true_of_its_outfit(corpus):
    for row in corpus.wscr.itertuples():
        outfit = corpus.collections.iloc[row.collection]
        assert list(row.items) == list(outfit["items"])
        own = corpus.items.iloc[row.items]
        for attribute, (value,) in json.loads(row.intent).items():
            assert value == outfit[attribute] if attribute in ATTRIBUTES else value in set(own[attribute])


def test_splits_are_811_within_2_percent(corpus):
    for table in (corpus.oar, corpus.wscr):
        share = table.split.value_counts(normalize=True)
        assert set(share.index) == set(SPLITS)
        for split, target in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
            assert abs(share[split] - target) <= 0.02


def test_no_intent_is_in_two_splits(corpus):
    for table in (corpus.oar, corpus.wscr):
        assert (table.groupby("intent").split.nunique() == 1).all()


def across_splits(table, stop, threshold):
    """Pairs of queries in different splits whose word sets overlap (Jaccard) by ``threshold`` or more."""
    words = [{*stem(query).split()} - set(stop) for query in table["query"]]
    vocabulary = {word: i for i, word in enumerate(sorted(set().union(*words)))}
    M = np.zeros((len(words), len(vocabulary)), np.float32)
    for row, own in zip(M, words, strict=True):
        row[[vocabulary[word] for word in own]] = 1
    common, size = M @ M.T, M.sum(1)
    jaccard = common / np.maximum(size[:, None] + size[None] - common, 1)
    split = table.split.to_numpy()
    pairs = np.argwhere((jaccard >= threshold) & (split[:, None] != split[None]))
    return [tuple(table["query"].iloc[pair]) for pair in pairs]


def test_no_outfit_has_queries_in_two_splits(corpus):
    assert corpus.wscr.collection.duplicated().any()  # or there is nothing to keep together
    assert (corpus.wscr.groupby("collection").split.nunique() == 1).all()


def test_an_encoder_learns_from_no_outfit_that_is_asked_for_in_evaluation():
    corpus = Corpus(
        "toy",
        pd.DataFrame({"title": list("abcde"), "category": "x"}),
        pd.DataFrame({"title": ["Boho  Look", "gym set", "party", "beach"], "items": [[0], [1], [2], [3, 4]]}),
        pd.DataFrame({"query": ["boho look", "gym set"], "split": ["test", "train"]}),
        pd.DataFrame({"query": ["a night", "waves"], "split": ["validation", "train"], "collection": [2, 3]}),
    )
    assert corpus.training_collections().tolist() == [False, True, False, True]


@pytest.mark.parametrize("task", ["oar", "wscr"])
def test_no_near_duplicate_across_splits(corpus, task):
    assert across_splits(getattr(corpus, task), GENERIC, 0.8) == []
    assert across_splits(getattr(corpus, task), [], 0.85) == []  # every word counted
    shuffled = getattr(corpus, task).copy()
    shuffled["split"] = np.random.default_rng(0).permutation(shuffled.split)
    assert across_splits(shuffled, GENERIC, 0.8)  # the check does find some where there are some


def digest(corpus, folder):
    folder.mkdir()
    corpus.save(folder)
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_same_arguments_same_bytes(tmp_path):
    np.random.seed(1)
    first = digest(generate(1100, 60, 60), tmp_path / "a")
    np.random.seed(2)
    assert digest(generate(1100, 60, 60), tmp_path / "b") == first
    other = digest(generate(1100, 60, 60, seed=1), tmp_path / "c")
    assert all(other[name] != first[name] for name in first if name.endswith(".parquet"))
    assert len(first) == 5


def test_one_value_has_several_surface_forms(corpus):
    for attribute in ("style", "category", "colour"):
        entries = world()[attribute]
        many = {v: [f for f in e["forms"] if f] for v, e in entries.items() if len(set(e["forms"])) > 1}
        assert many
        for value, forms in many.items():
            titles = corpus.items.title[corpus.items[attribute] == value]
            seen = [f for f in forms if titles.str.contains(rf"\b{re.escape(f)}\b").any()]
            assert len(seen) >= 2, (attribute, value)
    silent = ~corpus.items.apply(
        lambda row: any(f and f in row.title for f in world()["style"][row["style"]]["forms"]), axis=1
    )
    assert 0.4 < silent.mean() < 0.95  # most titles leave the style out


def test_popularity_is_heavy_tailed(corpus):
    sizes = np.sort(corpus.collections["look"].value_counts().to_numpy())[::-1]
    share = np.cumsum(sizes) / sizes.sum()
    assert share[len(sizes) // 10 - 1] > 0.25  # a tenth of the looks hold over a quarter of the outfits
    assert sizes[0] > 6 * np.median(sizes) and sizes.min() >= 4
    themes = corpus.collections.groupby(["style", "occasion"])["look"].nunique()
    assert themes.min() >= 4


def test_too_few_outfits_for_the_looks():
    with pytest.raises(ValueError, match=r"corpus\.n_outfits=50 is below \d+.*raise corpus\.n_outfits"):
        generate(50, 20, 20)


@pytest.mark.parametrize("profile", ["smoke", "cpu"])
def test_the_profiles_ask_for_what_the_world_can_give(profile):
    s = profiles.load(profile)
    generate(s.corpus.n_outfits, s.corpus.n_oar_queries, s.corpus.n_wscr_queries).require(s.folm.k)


def test_too_many_queries_for_the_world(corpus):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"corpus\.n_wscr_queries=5000, but .* only \d+ distinct ones: lower it"):
        outfit_queries({**world(), "pair_templates": ["{style} outfit"]}, corpus.items, corpus.collections, 5000, rng)
    with pytest.raises(ValueError, match=r"corpus\.n_oar_queries=60, but .* only \d+ distinct ones: lower it"):
        broad_queries({**world(), "families": {"seasons": ["{season} look"]}}, corpus.collections, 60, rng)


def test_save_and_load_round_trip(corpus, tmp_path):
    corpus.save(tmp_path)
    loaded = Corpus.load(tmp_path)
    assert loaded.name == "sample"
    for table in ("items", "collections", "oar", "wscr"):
        a, b = getattr(corpus, table), getattr(loaded, table)
        assert list(a.columns) == list(b.columns) and len(a) == len(b)
        for column in a.columns:
            assert [x if np.isscalar(x) else list(x) for x in a[column]] == [
                x if np.isscalar(x) else list(x) for x in b[column]
            ]
    assert loaded.collection_texts() == corpus.collection_texts()
    assert {p.suffix for p in tmp_path.iterdir()} == {".parquet", ".json"}


def test_collection_texts_are_the_titles_in_order(corpus):
    titles = corpus.items.title
    assert corpus.collection_texts()[7] == ", ".join(titles[i] for i in corpus.collections["items"][7])


def test_queries_of_a_split(corpus):
    parts = [corpus.queries("oar", split) for split in SPLITS]
    unseen = [query for table in (corpus.oar, corpus.wscr) for query in table["query"][table.split != "train"]]
    told = near_to(corpus.oar["query"][corpus.oar.split == "train"].tolist(), unseen).sum()
    assert told > 0 and sum(map(len, parts)) == 2400 - told
    assert all(part.index.equals(pd.RangeIndex(len(part))) for part in parts)
    assert all(set(part["split"]) == {split} for part, split in zip(parts, SPLITS, strict=True))
    assert set(corpus.queries("wscr", "test")["query"]) == set(corpus.wscr["query"][corpus.wscr.split == "test"])
    with pytest.raises(ValueError, match="split 'valid' is not one of train, validation, test"):
        corpus.queries("oar", "valid")


@pytest.mark.parametrize(
    "cut, message",
    [
        (dict(items=49), "sample has 49 items; k=10 directions need at least 50"),
        (dict(collections=49), "sample has 49 collections; k=10 directions need at least 50"),
        (dict(oar=0), "leaves the train split of oar with fewer than 2 queries"),
        (dict(wscr=0), "leaves the train split of wscr with fewer than 2 queries"),
    ],
)
def test_a_corpus_too_small_is_refused(corpus, cut, message):
    ((table, n),) = cut.items()
    with pytest.raises(ValueError, match=message):
        replace(corpus, **{table: getattr(corpus, table).iloc[:n]}).require(10)


def test_one_query_in_a_split_is_too_few(corpus):
    test = corpus.oar.index[corpus.oar.split == "test"]
    with pytest.raises(ValueError, match="test split of oar with fewer than 2 queries.*larger corpus"):
        replace(corpus, oar=corpus.oar.drop(test[1:])).require(10)
    assert replace(corpus, oar=corpus.oar.drop(test[2:])).require(10)
