"""The product: what a search answers, which questions it refuses, and what it says of a folder that is damaged."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from retrievers import FUSION, untrained
from safetensors.numpy import load_file, save_file

from r4t_utils.diffusion.denoiser import Denoiser
from r4t_utils.retriever import FanoutRetriever, fanout
from r4t_utils.run import paths
from r4t_utils.settings import Merging
from r4t_utils.space.index import Approximate, Index
from r4t_utils.space.merging import RULES, find

REMEDY = "; copy the folder anew, or make it again"
FILES = [
    "retriever.json",
    "contents.parquet",
    "contents.safetensors",
    "encoder/encoder.json",
    "encoder/heads.safetensors",
    "denoiser/config.json",
    "denoiser/model.safetensors",
]
RECORD = paths.ROOT / "results" / "cpu" / "sample"


@pytest.fixture(scope="module", params=[0, 4], ids=["sees the query", "sees contents too"])
def retriever(request):
    return untrained(neighbours=request.param)


@pytest.fixture(scope="module")
def saved(retriever, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "oar"
    retriever.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(saved, tmp_path / "oar")


def test_a_search_answers_with_k_contents(retriever):
    found = retriever.search("bohemian festival style", k=10)
    assert list(found) == ["id", "title", "cosine", "direction", "distance", "found_by"]
    assert len(found) == 10 and found.id.is_unique and found.direction.between(0, 9).all()
    assert found.title.tolist() == [retriever.titles[i] for i in found.id] and found.distance.between(0, 2).all()
    assert len(retriever.search("coat", k=1)) == len(retriever.search("coat", k=np.int64(1), seed=np.int64(3))) == 1


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_search_merges_by_its_rule_and_says_so(rule, weight):
    how = Merging(rule=rule, query_weight=weight)
    retriever, query, k = untrained(merging=how), "red boots", 4
    found = retriever.search(query, k)
    rows, z_q = retriever.directions([query], k), retriever.encoder.text([query])
    assert found.id.tolist() == find(retriever.index, rows, z_q, k, how)[0].tolist()
    assert found.attrs == {"merging": rule, "query_weight": weight}
    own, *lists = retriever.index.search(np.concatenate([z_q, rows[0]]), k)[0].tolist()
    for row in found.itertuples():
        content = retriever.index.vectors[row.id]
        to_each = np.linalg.norm(rows[0] - content, axis=1)
        assert row.direction == to_each.argmin() and row.distance == pytest.approx(to_each.min(), abs=1e-3)
        assert row.cosine == pytest.approx(z_q[0] @ content, abs=1e-5)
        by = ["query"] * (row.id in own) + [str(i) for i, ids in enumerate(lists) if row.id in ids]
        assert row.found_by == ", ".join(by)


def test_what_was_saved_answers_the_same(retriever, saved):
    assert {str(path.relative_to(saved)) for path in saved.rglob("*.*")} == {*FILES, "README.md"}
    loaded = FanoutRetriever.from_pretrained(str(saved))
    assert loaded.search("a red coat").equals(retriever.search("a red coat"))
    assert (loaded.slots, loaded.sampling, loaded.merging) == (retriever.slots, retriever.sampling, FUSION)


def test_the_same_seed_gives_the_same_set_and_another_one_another(retriever):
    one, same, other = (retriever.search("a red coat", seed=seed) for seed in (0, 0, 1))
    assert one.equals(same) and not one.equals(other)


@pytest.mark.parametrize(
    "query", ["", "  ", "\t\n", "\u200b", "\ufeff\u200d", "\x00\x1b", "\u3164", "\u2800", "\u0301", "\ufffd"]
)
def test_a_query_that_shows_nothing_is_refused(retriever, query):
    with pytest.raises(ValueError, match="the query is empty: .*give it at least one word"):
        retriever.search(query)


@pytest.mark.parametrize("query", [None, 3, b"coat", ["coat"]])
def test_a_query_that_is_no_text_is_refused(retriever, query):
    with pytest.raises(ValueError, match="no text; give it as str"):
        retriever.search(query)


def test_half_a_surrogate_is_refused(retriever):
    with pytest.raises(ValueError, match="half a surrogate pair; decode") as raised:
        retriever.search("coat \ud83d")
    str(raised.value).encode()


@pytest.mark.parametrize("query", ["?", "7", "\u200bcoat", "платье", "👗", "e\u0301"])
def test_a_query_that_shows_something_is_searched(retriever, query):
    assert len(retriever.search(query, k=2)) == 2


@pytest.mark.parametrize("k", [0, -1, 11, 1.0, True, "3", None])
def test_a_number_of_directions_that_cannot_be_is_refused(retriever, k):
    with pytest.raises(ValueError, match=rf"k={k!r}: must be a whole number from 1 to 10; .*10 directions over 30"):
        retriever.search("coat", k=k)


def test_no_more_directions_than_contents(retriever):
    few = Index(retriever.index.vectors[:4])
    small = FanoutRetriever(retriever.encoder, retriever.denoiser, few, list("abcd"), 10, retriever.sampling, FUSION)
    assert sorted(small.search("coat", k=4).title) == list("abcd")
    with pytest.raises(ValueError, match="k=5: must be a whole number from 1 to 4; .*10 directions over 4 contents"):
        small.search("coat", k=5)


@pytest.mark.parametrize("seed", [-1, 1.0, True, "0", None, 2**32])
def test_a_seed_that_cannot_be_is_refused(retriever, seed):
    with pytest.raises(ValueError, match=rf"seed={seed!r}: must be a whole number from 0"):
        retriever.search("coat", seed=seed)


def test_parts_that_were_not_made_for_each_other_are_refused(retriever):
    parts = {"encoder": retriever.encoder, "denoiser": retriever.denoiser, "index": retriever.index}
    config = retriever.denoiser.config.model_copy(update={"d": 64})
    narrow = Index(np.eye(64, dtype=np.float32)[:30])
    for name, other in (("denoiser", Denoiser(config)), ("index", narrow)):
        with pytest.raises(ValueError, match=f"do not fit each other: widths .*'{name}': 64"):
            FanoutRetriever(
                **parts | {name: other}, titles=retriever.titles, slots=10, how=retriever.sampling, merging=FUSION
            )
    with pytest.raises(ValueError, match="29 titles for 30 contents"):
        FanoutRetriever(**parts, titles=retriever.titles[1:], slots=10, how=retriever.sampling, merging=FUSION)


# Many queries, filters, and directions on their own


def test_many_queries_are_answered_as_each_alone(retriever):
    queries = ["a red coat", "boho festival", "bag", "a red coat"]
    for together, query in zip(retriever.search_many(queries, k=5, seed=3), queries):
        alone = retriever.search(query, k=5, seed=3)
        assert together.drop(columns=["cosine", "distance"]).equals(alone.drop(columns=["cosine", "distance"]))
        np.testing.assert_allclose(together[["cosine", "distance"]], alone[["cosine", "distance"]], atol=1e-4)
    assert retriever.search_many([]) == []
    with pytest.raises(ValueError, match="'hat' is one text where several are asked for; put it in a list"):
        retriever.search_many("hat")


@pytest.mark.parametrize("rule", RULES)
def test_a_filter_holds_exactly(rule):
    retriever = untrained(merging=Merging(rule=rule, query_weight=0.5 if rule != "top1" else 0.0))
    reds = [i for i, title in enumerate(retriever.titles) if title.startswith("red")]
    by_id = retriever.search("summer", k=4, allowed=reds[::-1] + reds)
    assert set(by_id.id) <= set(reds) and len(by_id) == 4 and "short" not in by_id.attrs
    assert by_id.equals(retriever.search("summer", k=4, allowed=lambda i, title: title.startswith("red")))
    every = retriever.search("summer", k=4, allowed=range(30))
    assert every.equals(retriever.search("summer", k=4))


def test_a_filter_that_leaves_too_few_gives_all_of_them_and_says_so(retriever):
    found = retriever.search("summer", k=10, allowed=[7, 3])
    assert sorted(found.id) == [3, 7] and found.attrs["short"] == "2 of 10: the filter leaves no more"
    none = retriever.search("summer", k=10, allowed=[])
    assert list(none) == list(found) and none.empty and none.attrs["short"].startswith("0 of 10")


@pytest.mark.parametrize("allowed", [[30], [-1], [1.5], ["3"], [True]])
def test_an_allowed_id_that_no_content_has_is_refused(retriever, allowed):
    with pytest.raises(ValueError, match="an allowed id=.* from 0 to 29"):
        retriever.search("coat", allowed=allowed)


def test_each_direction_can_be_looked_at_alone(retriever):
    found, rows = retriever.per_direction("boots", n=3, k=4), retriever.directions(["boots"], 4)[0]
    assert list(found) == ["direction", "rank", "id", "title", "distance"] and len(found) == 12
    ids, distance = retriever.index.search(rows, 3)
    assert found.id.tolist() == ids.ravel().tolist()
    np.testing.assert_allclose(found.distance, distance.ravel())
    few = retriever.per_direction("boots", n=3, k=4, allowed=[5])
    assert few.id.tolist() == [5] * 4 and few["rank"].tolist() == [0] * 4
    assert retriever.per_direction("boots", n=3, k=4, allowed=[]).empty
    with pytest.raises(ValueError, match="n=31: must be a whole number from 1 to 30"):
        retriever.per_direction("boots", n=31)


def test_a_query_of_ten_megabytes_is_refused(retriever):
    with pytest.raises(ValueError, match="the query has 10000000 characters: at most 2000 are read; shorten it"):
        retriever.search("x" * 10_000_000)


# Other databases


def test_a_database_of_ones_own_is_searched_by_the_same_retriever(retriever):
    texts = [f"{size} {thing}" for size in ("small", "large") for thing in ("tent", "lamp", "kayak", "stove", "rope")]
    other = retriever.over(Index(retriever.embed(texts), retriever.encoder.space), texts)
    found = other.search("camping by a lake", k=6)
    assert set(found.title) <= set(texts) and len(found) == 6
    alike = np.array_equal(other.directions(["tent"], 6), retriever.directions(["tent"], 6))
    assert alike == (retriever.denoiser.config.neighbours == 0)  # which else looks at the contents near the query
    with pytest.raises(ValueError, match="the query is empty"):
        retriever.embed(["tent", " "])


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_an_approximate_index_answers_alike(retriever, kind, tmp_path):
    other = retriever.over(Approximate(retriever.index.vectors, kind, retriever.encoder.space), retriever.titles)
    assert other.search("red boots", allowed=[4, 9, 11], k=2).equals(
        retriever.search("red boots", allowed=[4, 9, 11], k=2)
    )
    assert other.search("red boots").equals(retriever.search("red boots"))
    other.save_pretrained(tmp_path / "saved")
    assert FanoutRetriever.from_pretrained(tmp_path / "saved").search("hat").equals(retriever.search("hat"))


def test_vectors_of_another_encoder_are_refused(retriever):
    with pytest.raises(ValueError, match="vectors of the encoder 0123456789ab, and this one is .*embed the contents"):
        retriever.over(Index(retriever.index.vectors, "0123456789ab"), retriever.titles)
    assert untrained().encoder.space == retriever.encoder.space != untrained(d=64).encoder.space


def test_a_loaded_index_is_of_the_encoder_beside_it(saved, tmp_path):
    untrained(seed=1).save_pretrained(tmp_path / "other")
    one, other = (FanoutRetriever.from_pretrained(folder) for folder in (saved, tmp_path / "other"))
    with pytest.raises(
        ValueError, match=f"vectors of the encoder {other.encoder.space}, and this one is {one.encoder.space}"
    ):
        one.over(other.index, other.titles)
    assert one.over(one.index, one.titles).search("hat").equals(one.search("hat"))


@pytest.mark.parametrize("name", ["encoder/heads.safetensors", "denoiser/model.safetensors", "contents.safetensors"])
def test_a_file_of_another_retriever_of_the_same_sizes_is_named(folder, name, tmp_path):
    neighbours = FanoutRetriever.from_pretrained(folder).denoiser.config.neighbours
    untrained(seed=1, neighbours=neighbours).save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / name, folder / name)
    refused(folder, name, "is not the file that retriever.json was saved with", REMEDY)


# Contents that come and go


def test_new_contents_are_found_without_training_and_removed_ones_never():
    retriever = untrained(neighbours=4)
    new = "a wedding in the mountains"
    texts = [*retriever.titles, new]
    grown = retriever.over(Index(retriever.embed(texts), retriever.encoder.space), texts)
    assert new not in retriever.search("mountain wedding").title.tolist()
    assert new in grown.search("mountain wedding").title.tolist()
    gone = retriever.titles[retriever.index.search(retriever.encode(["red boots"]), 1)[0][0, 0]]
    assert gone in retriever.search("red boots").title.tolist()
    texts = [title for title in retriever.titles if title != gone]
    left = retriever.over(Index(retriever.embed(texts), retriever.encoder.space), texts)
    assert all(gone not in left.search("red boots", seed=seed).title.tolist() for seed in range(5))
    assert not np.array_equal(left.directions(["red boots"], 5), retriever.directions(["red boots"], 5))


# Saving and sharing


def test_the_card_of_a_record_of_one_seed_names_it(saved, tmp_path):
    manifest = json.loads((RECORD / "manifest.json").read_text())
    manifest["stages"]["05_evaluation"] |= {"seed": 7, "commit": None}
    del manifest["seeds"]
    (tmp_path / "record").mkdir()
    for name in ("claims.json", "metrics.csv"):
        shutil.copyfile(RECORD / name, tmp_path / "record" / name)
    (tmp_path / "record" / "manifest.json").write_text(json.dumps(manifest))
    FanoutRetriever.from_pretrained(saved).save_pretrained(tmp_path / "scored", record=tmp_path / "record")
    scored = (tmp_path / "scored" / "README.md").read_text()
    assert "seeds 7; test queries" in scored and "commit" not in scored
    row = pd.read_csv(RECORD / "metrics.csv").query("method == 'R4T-Diffusion' and metric == 'quality'").iloc[0]
    assert f"| quality | {row['mean']:.1f} [{row.low:.1f}, {row.high:.1f}] | {row.n} |" in scored


def test_the_card_says_what_the_retriever_is_and_how_its_run_scored(retriever, saved, tmp_path):
    plain = (saved / "README.md").read_text()
    assert plain.startswith("---\nlibrary_name: r4t_utils") and "over 30 contents" in plain and "held" not in plain
    copied = FanoutRetriever.from_pretrained(saved)
    copied.save_pretrained(tmp_path / "scored", record=RECORD)
    scored = (tmp_path / "scored" / "README.md").read_text()
    claims = json.loads((RECORD / "claims.json").read_text())
    metrics = pd.read_csv(RECORD / "seeds_metrics.csv")  # of the seeds that the card names
    row = metrics[(metrics.task == "oar") & (metrics.method == "R4T-Diffusion") & (metrics.metric == "quality")].iloc[0]
    assert f"| oar | R4T-Diffusion | quality | {row['mean']:.1f} [{row.low:.1f}, {row.high:.1f}] | {row.n} |" in scored
    for claim in claims:
        line = next(line for line in scored.splitlines() if line.startswith(f"| {claim['id']} | {claim['claim']} |"))
        other = claim["without_query"]
        assert line.endswith(f"| {claim['verdict']} | {other['verdict'] if other else ''} |")
    again = FanoutRetriever.from_pretrained(tmp_path / "scored")
    again.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text() == scored


def test_a_record_that_is_none_is_refused_before_anything_is_written(retriever, tmp_path):
    with pytest.raises(ValueError, match="holds no record .*results/cpu/sample"):
        retriever.save_pretrained(tmp_path / "new", record=tmp_path)
    assert not (tmp_path / "new").exists()


def test_what_is_pushed_to_the_hub_is_what_is_saved(retriever, saved, monkeypatch):
    sent = {}

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **_):
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, folder_path, repo_id, **_):
            folder = Path(folder_path)
            sent[repo_id] = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    retriever.push_to_hub("someone/retriever")
    assert sent == {
        "someone/retriever": {str(p.relative_to(saved)): p.read_bytes() for p in saved.rglob("*") if p.is_file()}
    }


def test_a_retriever_on_the_hub_is_fetched_by_its_id(retriever, saved, monkeypatch):
    asked = []
    monkeypatch.setattr(fanout, "snapshot_download", lambda name, **how: asked.append((name, how)) or str(saved))
    found = FanoutRetriever.from_pretrained("someone/retriever", revision="v1", token="secret")
    assert asked == [("someone/retriever", {"revision": "v1", "token": "secret"})]
    assert found.search("hat").equals(retriever.search("hat"))


def test_an_id_that_the_hub_does_not_know_is_one_plain_error(monkeypatch):
    def gone(*_, **__):
        raise OSError("no\nnetwork")

    monkeypatch.setattr(fanout, "snapshot_download", gone)
    with pytest.raises(ValueError, match=r"'some/one' is no folder .*by that id \(no network\); correct the name"):
        FanoutRetriever.from_pretrained("some/one")


def test_saving_replaces_a_retriever_and_nothing_else(retriever, folder, tmp_path):
    (folder / ".git" / "encoder").mkdir(parents=True)
    (folder / ".git" / "encoder" / "HEAD").write_text("history")
    (folder / "notes.txt").symlink_to("elsewhere")
    (folder / "encoder" / "left over").write_text("from an older version")
    retriever.save_pretrained(folder)
    assert not (folder / "encoder" / "left over").exists()
    assert len(FanoutRetriever.from_pretrained(folder).titles) == 30
    assert (folder / ".git" / "encoder" / "HEAD").read_text() == "history" and (folder / "notes.txt").is_symlink()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="other holds something else than a retriever; name a new folder"):
        retriever.save_pretrained(other)
    assert (other / "thesis.tex").read_text() == "years of work"
    with pytest.raises(ValueError, match="holds something else"):
        retriever.save_pretrained(other / "thesis.tex")


def test_a_save_that_fails_leaves_the_retriever_that_was_there(retriever, folder, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(retriever.denoiser, "save", full)
    with pytest.raises(OSError):
        retriever.save_pretrained(folder)
    assert len(FanoutRetriever.from_pretrained(folder).titles) == 30


def test_a_save_that_was_cut_short_between_its_renames_is_found_again(retriever, folder):
    (folder / "notes.txt").write_text("mine")
    former = folder.rename(folder.with_name(f".{folder.name}.former"))
    retriever.save_pretrained(folder)
    assert (folder / "notes.txt").read_text() == "mine" and not former.exists()


def test_a_link_is_followed_and_the_working_folder_has_a_name(retriever, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "link").symlink_to(here)
    retriever.save_pretrained(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and len(FanoutRetriever.from_pretrained(here).titles) == 30
    monkeypatch.chdir(here)
    retriever.save_pretrained(".")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["here", "link"]


def test_what_was_saved_is_pushed_under_the_name_of_its_folder(retriever, tmp_path, monkeypatch):
    pushed = []

    def push(self, repo_id, **options):
        pushed.append((repo_id, options))
        raise OSError("no network")

    monkeypatch.setattr(FanoutRetriever, "push_to_hub", push)
    with pytest.raises(OSError):
        retriever.save_pretrained(tmp_path / "mine", push_to_hub=True, private=True)
    with pytest.raises(OSError):
        retriever.save_pretrained(tmp_path / "mine", push_to_hub=True, repo_id="me/other")
    assert pushed == [("mine", {"private": True}), ("me/other", {})]
    assert [p.name for p in tmp_path.iterdir()] == ["mine"] and FanoutRetriever.from_pretrained(tmp_path / "mine")


def test_a_filter_that_is_one_number_is_refused(retriever):
    with pytest.raises(ValueError, match="allowed=5 must be ids, or a function"):
        retriever.search("coat", allowed=5)


def test_texts_may_come_one_by_one(retriever):
    texts = ["a red hat", "a blue coat"]
    assert len(retriever.search_many(text for text in texts)) == 2
    for ask in (retriever.encode, retriever.embed):
        assert np.array_equal(ask(iter(texts)), ask(texts))
    with pytest.raises(ValueError, match="'hat' is one text"):
        retriever.embed("hat")


def test_a_folder_without_a_retriever(tmp_path):
    with pytest.raises(ValueError, match="holds no retriever"):
        FanoutRetriever.from_pretrained(tmp_path)


def refused(folder, *wanted):
    """Loading fails with one error in one line that names folder and file, and says what is wanted."""
    with pytest.raises(ValueError) as raised:
        FanoutRetriever.from_pretrained(folder)
    message = str(raised.value)
    assert type(raised.value) is ValueError and "\n" not in message
    assert raised.value.__cause__ is None and (raised.value.__context__ is None or raised.value.__suppress_context__)
    assert all(part in message for part in (str(folder), *wanted)), message


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_is_cut_short_missing_or_a_pointer_is_named(folder, name):
    path = folder / name
    whole = path.read_bytes()
    for part in (len(whole) // 2, len(whole) - 4, 0):
        path.write_bytes(whole[:part])
        refused(folder, name, "cannot be read: cut short", REMEDY)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    refused(folder, name, "is a Git LFS pointer", "git lfs pull")
    path.unlink()
    if name == "retriever.json":
        refused(folder, name, "holds no retriever", "make reproduce")
    else:
        refused(folder, name, "is missing", REMEDY)


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".json")])
def test_every_key_that_is_unknown_or_gone_is_named(folder, name):
    values = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(values | {"novelty": 1}))
    refused(folder, name, "novelty is not known", REMEDY)
    for key in values:
        (folder / name).write_text(json.dumps({other: value for other, value in values.items() if other != key}))
        fault = f"no value for {key})" if name == "denoiser/config.json" else f"{key} is missing"
        refused(folder, name, fault, REMEDY)


@pytest.mark.parametrize(
    "name, change, fault",
    [
        ("retriever.json", {"slots": 0}, "slots=0 must be at least 1"),
        (
            "retriever.json",
            {"sampling": {"sampler": "dpm", "steps": 4, "guidance": 0.0}},
            "sampling.steps is not known",
        ),
        ("retriever.json", {"sampling": {"sampler": "x", "sampling_steps": 4, "guidance": 0.0}}, "sampling.sampler"),
        ("retriever.json", {"sampling": None}, "sampling=None is not a mapping"),
        ("retriever.json", {"merging": {"rule": "sum", "query_weight": 0.5}}, "merging.rule='sum' must be 'fill'"),
        ("retriever.json", {"merging": {"rule": "fill", "query_weight": 1.0}}, "query_weight=1.0 must be below 1"),
        ("denoiser/config.json", {"heads": 5}, "hidden=32 is not a multiple of heads=5"),
        ("denoiser/config.json", {"d": "128"}, "d='128' is not a whole number"),
        ("denoiser/config.json", {"sigma_min": 1e9}, "sigma_min=1000000000.0 must be below"),
        ("encoder/encoder.json", {"sentence_encoder": "another"}, "all-MiniLM-L6-v2"),
    ],
)
def test_values_of_another_version_are_named(folder, name, change, fault):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(folder, name, fault, REMEDY)


@pytest.mark.parametrize(
    "name, change, fault",
    [
        (
            "denoiser/config.json",
            {"layers": 3},
            "model.safetensors does not hold the tensors that config.json asks for",
        ),
        ("denoiser/config.json", {"mlp": 64}, "(32, 48) in float32; config.json asks for (32, 64)"),
        ("denoiser/config.json", {"d": 64}, "model.safetensors has"),
        ("denoiser/config.json", {"hidden": 2**20}, "model.safetensors has"),
        ("encoder/encoder.json", {"d": 64}, "heads.safetensors has"),
    ],
)
def test_shapes_that_do_not_fit_their_sizes_are_named(folder, name, change, fault):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(folder, fault, REMEDY)


def test_a_denoiser_of_another_width_is_named(folder, retriever):
    Denoiser(retriever.denoiser.config.model_copy(update={"d": 64})).save(folder / "denoiser")
    refused(folder, "denoiser/config.json has d=64, but encoder/encoder.json d=128", REMEDY)


@pytest.mark.parametrize("shape", [(30, 64), (29, 128), (30 * 128,)])
def test_vectors_that_fit_neither_titles_nor_encoder_are_named(folder, shape):
    save_file({"vectors": np.ones(shape, np.float32)}, folder / "contents.safetensors")
    refused(folder, f"contents.safetensors has vectors {shape}", "contents.parquet with encoder/encoder.json", REMEDY)


def test_titles_that_are_too_few_or_no_titles_are_named(folder, retriever):
    pd.DataFrame({"title": retriever.titles[:29]}).to_parquet(folder / "contents.parquet")
    refused(folder, "contents.safetensors has vectors (30, 128)", "asks for (29, 128)", REMEDY)
    pd.DataFrame({"name": retriever.titles}).to_parquet(folder / "contents.parquet")
    refused(folder, "contents.parquet cannot be read", REMEDY)


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".safetensors")])
def test_weights_that_are_not_finite_are_named(folder, name):
    weights = load_file(folder / name)
    first = sorted(weights)[0]
    weights[first].flat[0] = np.nan
    save_file(weights, folder / name)
    refused(folder, name, f"values in {first} that are not finite", REMEDY)


def test_vectors_that_are_not_of_length_1_are_named(folder):
    vectors = load_file(folder / "contents.safetensors")["vectors"]
    save_file({"vectors": 2 * vectors}, folder / "contents.safetensors")
    refused(folder, "contents.safetensors", "row 0 of vectors has length 2", REMEDY)
