from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from safetensors.numpy import save_file

from r4t_utils.policy import synthesis
from r4t_utils.policy.prompts import Fanout
from r4t_utils.policy.synthesis import Pairs, synthesise
from r4t_utils.space.index import Index

ITEMS = ["red hat", "blue boots", "boho bag", "city ring"]
DRAWN = {  # of k = 2 sub-queries
    "one": [["red hat", "a"], None, ["blue boots", "b"]],
    "none": [None, None, None],
    "all": [["boho bag", "c"], ["city ring", "d"], ["blue hat", "e"]],
}
ENCODER = tiny.WordEncoder()


def synthesised(task, slots, drawn, targets="contents"):
    def fan_out(*_, **__):
        return [[Fanout(f or [], "" if f else "not JSON") for f in drawn[query]] for query in drawn]

    policy = SimpleNamespace(fan_out=fan_out, settings=SimpleNamespace(k=2))
    settings = SimpleNamespace(fanouts_per_query=3, slots=slots, targets=targets, temperature=1.0, batch_size=8)
    return synthesise(policy, task, list(drawn), ENCODER, Index(ENCODER.text(ITEMS)), settings, seed=0)


@pytest.mark.parametrize("task", ["oar", "wscr"])
@pytest.mark.parametrize("slots", [2, 3, 4, 5, 9])
@pytest.mark.parametrize("targets", ["contents", "sub_queries"])
def test_targets_are_the_fanouts_in_turn(task, slots, targets):
    pairs, outcome = synthesised(task, slots, DRAWN, targets)
    assert outcome == {"kept": 5, "not JSON": 4} and len(pairs) == 5 and pairs.counts.tolist() == [2, 3]
    np.testing.assert_array_equal(pairs.z_q, ENCODER.text(["one", "all"]))
    database = ENCODER.text(ITEMS)
    for i, query in enumerate(["one", "all"]):
        good = [fanout for fanout in DRAWN[query] if fanout]
        for j in range(len(good)):
            rows = ENCODER.text([sub for step in range(slots) for sub in good[(j + step) % len(good)]][:slots])
            if task == "oar" and targets == "contents":
                rows = database[(rows @ database.T).argmax(1)]
            np.testing.assert_array_equal(pairs.targets[i, j], rows)
        assert not pairs.targets[i, len(good) :].any()


@pytest.mark.parametrize("block", [1, 2])
def test_blocks_of_queries_change_nothing(monkeypatch, block):
    whole, _ = synthesised("oar", 3, DRAWN)
    monkeypatch.setattr(synthesis, "BLOCK", block)
    parts, _ = synthesised("oar", 3, DRAWN)
    for name in ("z_q", "targets", "counts"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_saved_pairs_are_read_as_they_were(tmp_path):
    pairs, _ = synthesised("wscr", 3, DRAWN)
    pairs.save(tmp_path / "new")
    again = Pairs.load(tmp_path / "new")
    for name in ("z_q", "targets", "counts"):
        np.testing.assert_array_equal(getattr(again, name), getattr(pairs, name), strict=True)


@pytest.mark.parametrize("wrong, shown", [(0.0, "0"), (np.nan, "nan"), (3.0, "3")])
def test_saved_targets_that_are_no_directions_are_named(tmp_path, wrong, shown):
    pairs, _ = synthesised("wscr", 3, DRAWN)
    query = int((pairs.counts < pairs.targets.shape[1]).argmax())  # whose last place is empty, and zero
    pairs.targets[query, 0, 1] = wrong * pairs.targets[query, 0, 1]
    pairs.save(tmp_path)
    with pytest.raises(ValueError, match=f"row 1 of fan-out 0 of query {query} has length {shown}, not 1; copy"):
        Pairs.load(tmp_path)


@pytest.mark.parametrize(
    "change, fault",
    [
        (lambda a: a | {"targets": a["targets"][1:]}, r"which must be \(q, d\), \(q, F, L, d\) and \(q,\)"),
        (lambda a: a | {"counts": a["counts"][1:]}, r"counts \(1,\), which must be"),
        (lambda a: a | {"targets": a["targets"][..., 1:]}, "which must be"),
        (lambda a: a | {"counts": a["counts"] + 9}, r"which must be 1\.\."),
        (lambda a: a | {"z_q": a["z_q"] * np.nan}, "queries z_q that are not of length 1"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, change, fault):
    pairs, _ = synthesised("wscr", 3, DRAWN)
    arrays = {name: getattr(pairs, name) for name in ("z_q", "targets", "counts")}
    made = {name: np.ascontiguousarray(array) for name, array in change(arrays).items()}
    save_file(made, tmp_path / "pairs.safetensors")
    with pytest.raises(ValueError, match=f"pairs.safetensors holds .*{fault}"):
        Pairs.load(tmp_path)


def test_a_file_of_other_arrays_is_named(tmp_path):
    save_file({"z_q": np.zeros((2, 4), np.float32)}, tmp_path / "pairs.safetensors")
    with pytest.raises(ValueError, match="pairs.safetensors holds z_q in place of z_q, targets and counts"):
        Pairs.load(tmp_path)
    with pytest.raises(ValueError, match="missing"):
        Pairs.load(tmp_path / "none")


def test_no_well_formed_fanout_is_an_error():
    with pytest.raises(ValueError, match="none of 3 fan-outs.*not JSON.*tune the policy longer"):
        synthesised("oar", 3, {"none": DRAWN["none"]})


def test_pairs_are_described_by_their_sets():
    axes = np.eye(4, dtype=np.float32)
    alike = [axes[[0, 0]], axes[[0, 1]]]  # of the first query: a set that repeats itself, and one that does not
    other = [axes[[2, 3]], axes[[3, 3]]]
    sets = np.array([alike, other])
    told = Pairs(axes[:2], sets, np.array([2, 2], np.int32)).described()
    assert told["sets"] == 4 and told["Vendi of a set"] == pytest.approx((1 + 2) / 2)
    assert told["rows that repeat another"] == pytest.approx((0.5 + 0) / 2)
    assert told["cosine of two sets"] == pytest.approx(2**-0.5) and told["of two queries' sets"] == 0
    few = Pairs(axes[:2], sets, np.array([2, 1], np.int32)).described()  # nothing to compare a query's two sets with
    assert np.isnan([few["cosine of two sets"], few["of two queries' sets"]]).all() and few["sets"] == 3
