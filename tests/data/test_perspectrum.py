"""Perspectrum: the official files where they are at hand ($R4T_PERSPECTRUM), and a small stand-in for every rule."""

import json
import os
from pathlib import Path

import pytest

from r4t_utils.data import perspectrum, sources
from r4t_utils.data.perspectrum import ANSWERS, POOL, SPLIT, blob_id
from r4t_utils.data.polyvore import DataError
from r4t_utils.settings import CorpusSettings

OFFICIAL = Path(os.environ.get("R4T_PERSPECTRUM") or "no folder")
SUBJECTS = "cars schools taxes zoos patents exams elections vaccines robots museums farms prisons trains whales".split()


def write(folder, monkeypatch, change=lambda claims, pool, split: None):
    """A stand-in of 14 claims with 2 clusters of 2 sentences each; its files are taken for the official ones."""
    pool = [
        {"pId": 100 + i, "text": f"point {i}  about {SUBJECTS[i // 4]}", "source": "idebate", "extra": 1}
        for i in range(56)
    ]
    claims = [
        {
            "cId": i,
            "text": f"we should ban {subject}",
            "source": "procon",
            "topics": [],
            "perspectives": [
                {"pids": [100 + 4 * i, 101 + 4 * i], "stance_label_3": "SUPPORT"},
                {"pids": [102 + 4 * i, 103 + 4 * i], "stance_label_3": "UNDERMINE"},
            ],
        }
        for i, subject in enumerate(SUBJECTS)
    ]
    split = {str(i): ["train", "train", "train", "train", "train", "dev", "test"][i % 7] for i in range(14)}
    change(claims, pool, split)
    for name, content in ((ANSWERS, claims), (POOL, pool), (SPLIT, split)):
        data = json.dumps(content).encode()
        (folder / name).write_bytes(data)
        monkeypatch.setitem(perspectrum.OFFICIAL, name, blob_id(data))
    return folder


def test_claims_sentences_and_clusters(tmp_path, monkeypatch):
    corpus = sources.load("perspectrum", write(tmp_path, monkeypatch), _sizes())
    assert corpus.name == sources.label("perspectrum", tmp_path) == "perspectrum"
    assert corpus.items.title[5] == "point 5 about schools" and corpus.speaks == "own words"
    assert corpus.collections["items"].tolist() == [[i] for i in range(56)]
    names = ["train"] * 5 + ["validation", "test"]
    assert corpus.oar.set_index("id")["split"].to_dict() == {str(i): names[i % 7] for i in range(14)}
    claim = corpus.qrels[corpus.qrels["query"] == "3"]
    assert claim["content"].tolist() == [12, 13, 14, 15] and claim["subtopic"].nunique() == 2
    assert corpus.wscr.set_index("id")["items"]["3"] == [12, 13, 14, 15]
    assert corpus.oar.loc[corpus.oar["split"] != "train", "apart"].all()
    assert not corpus.oar.loc[corpus.oar["split"] == "train", "apart"].any()


def test_encoders_are_not_taught_with_what_is_held_out(tmp_path, monkeypatch):
    corpus = sources.load("perspectrum", write(tmp_path, monkeypatch), _sizes())
    held_out = corpus.wscr[corpus.wscr["split"] != "train"]
    theirs = {i for row in held_out["items"] for i in row}
    taught = corpus.training_collections()
    assert len(theirs) == 16 and {i for i in range(56) if not taught[i]} == theirs
    said = {word for words in corpus.language.facets.values() for term in words for word in term.split()}
    assert "ban" in said and not said & {"about", "should", "outfit", "look", "dress"}


def test_near_duplicate_claims_move_to_training_together(tmp_path, monkeypatch):
    def change(claims, pool, split):
        claims[6]["text"] = "We should ban the cars!"  # of test; claim 0 of training asks for the same
        claims[5]["perspectives"] = claims[13]["perspectives"]  # validation and test, the same relevant sentences

    oar = sources.load("perspectrum", write(tmp_path, monkeypatch, change), _sizes()).oar.set_index("id")
    assert oar["split"]["6"] == "train" and oar["group"]["6"] == oar["group"]["0"]
    assert oar["split"]["13"] == oar["split"]["5"] == "validation"
    assert oar.attrs["moved"] == 2


def test_a_test_claim_that_shares_a_sentence_with_training_is_not_apart(tmp_path, monkeypatch):
    def change(claims, pool, split):
        claims[6]["perspectives"][0]["pids"].append(100)

    oar = sources.load("perspectrum", write(tmp_path, monkeypatch, change), _sizes()).oar.set_index("id")
    assert oar["split"]["6"] == "test" and not oar["apart"]["6"] and oar["apart"]["13"]


def test_the_smoke_profile_takes_claims_of_every_split_with_their_sentences(tmp_path, monkeypatch):
    corpus = sources.load("perspectrum", write(tmp_path, monkeypatch), _sizes(max_outfits=25))
    assert len(corpus.items) == 24 and len(corpus.oar) == 6
    assert set(corpus.oar["split"]) == {"train", "validation", "test"}
    for row in corpus.wscr.itertuples():
        assert {corpus.items.title[i].split()[-1] for i in row.items} == {row.query.split()[-1]}


@pytest.mark.parametrize("name", [ANSWERS, POOL, SPLIT])
def test_a_missing_or_altered_file_is_refused(tmp_path, monkeypatch, name):
    folder = write(tmp_path, monkeypatch)
    path = folder / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match=f"{name} is not the official file: its git blob id is .*: clone"):
        perspectrum.label(folder)
    path.unlink()
    with pytest.raises(DataError, match=f"lacks {name}: clone github.com/CogComp/perspectrum"):
        perspectrum.load(folder, 100)
    with pytest.raises(DataError, match="is missing or no folder"):
        perspectrum.label(folder / "none")


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda c, p, s: c[2].update(perspectives=[]), "claim cId=2 .*'we should ban taxes'.* has no perspectives"),
        (lambda c, p, s: c[2]["perspectives"][0].update(pids=[]), "pids"),
        (lambda c, p, s: c[2]["perspectives"][0].update(pids=[7]), f"cId=2 .* names pId=7, which {POOL} lacks"),
        (lambda c, p, s: s.pop("2"), f"cId=2 .* has no split in {SPLIT}"),
        (lambda c, p, s: c[2].pop("text"), "2.text is missing"),
    ],
)
def test_a_claim_that_cannot_be_used_is_named(tmp_path, monkeypatch, change, words):
    with pytest.raises(DataError, match=words):
        perspectrum.load(write(tmp_path, monkeypatch, change), 100)


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="set R4T_PERSPECTRUM to the folder of the official files")
def test_the_official_files():
    corpus = perspectrum.load(OFFICIAL, 2400).require(10)
    assert (len(corpus.items), len(corpus.oar), corpus.oar.attrs["moved"]) == (11112, 907, 31)
    assert corpus.oar["split"].value_counts().to_dict() == {"train": 566, "validation": 134, "test": 207}
    assert (corpus.oar.groupby("group")["split"].nunique() == 1).all()
    assert corpus.oar.loc[corpus.oar["split"] == "test", "apart"].sum() == 190
    assert set(corpus.qrels["query"]) == set(corpus.oar["id"])


def _sizes(max_outfits=0):
    return CorpusSettings(n_outfits=20, n_oar_queries=20, n_wscr_queries=20, max_outfits=max_outfits)
