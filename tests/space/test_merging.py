"""Merging of ranked lists: each rule against a slow one that follows its words, and what all of them promise."""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from r4t_utils.settings import SECTIONS, Merging
from r4t_utils.space.encoder import unit
from r4t_utils.space.index import Index
from r4t_utils.space.merging import DEPTH, RULES, SMOOTHING, depth, find, merge

DIFFERENT = tuple(rule for rule in RULES if rule != "top1")
WEIGHTS = (0.0, 0.1, 0.25, 1 / 3, 0.5, 0.7, 0.95)


@st.composite
def ranked(draw, equal_lists=False):
    """Lists (n, m, c), the query's own (n, c), k and a weight."""
    n, m, c = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    contents = draw(st.integers(c, 4 * c))
    lists = np.array([[rng.permutation(contents)[:c] for _ in range(m + 1)] for _ in range(n)])
    if equal_lists:
        lists[:] = lists[:, :1]
    return lists[:, :m], lists[:, m], draw(st.integers(1, c)), draw(st.sampled_from(WEIGHTS))


def in_turn(lists, own, weight):
    """Who has turn 0, 1, ...: the query's own list if its turns so far are fewer than its share, else the next one."""
    m, others = len(lists), 0
    for turn in range(10_000):
        if ceil((turn + 1) * Fraction(weight).limit_denominator(100)) > turn - others:
            yield own
        else:
            yield lists[others % m]
            others += 1


def oracle(rule, lists, own, k, weight):
    """One query's set, by the words of the rule."""
    got, read = [], {}
    if rule in ("fill", "round_robin"):
        for turn in in_turn(lists, own, weight):
            at = read.get(id(turn), 0)
            while rule == "fill" and turn[at] in got:
                at += 1
            if at < len(turn) and turn[at] not in got:
                got.append(turn[at])
            read[id(turn)] = at + 1
            if len(got) == k:
                return got
    share = Fraction(weight).limit_denominator(100)
    votes, first = {}, {}
    for ranking, vote in [(own, share)] + [(one, (1 - share) / len(lists)) for one in lists]:
        for rank, content in enumerate(ranking, start=1):
            votes[content] = votes.get(content, 0) + vote / (SMOOTHING + rank)
    for turn in in_turn(lists, own, weight):
        at = read.setdefault(id(turn), 0)
        read[id(turn)] += 1
        if at < len(turn):
            first.setdefault(turn[at], len(first))
        if len(first) == len({*own * (weight > 0)}.union(*lists)):
            break
    return sorted(first, key=lambda content: (-votes[content], first[content]))[:k]


@pytest.mark.parametrize("rule", DIFFERENT)
@given(case=ranked())
def test_a_rule_does_what_its_words_say(rule, case):
    lists, own, k, weight = case
    found = merge(lists, k, Merging(rule=rule, query_weight=weight), own)
    for i, row in enumerate(found.tolist()):
        assert row == oracle(rule, lists[i].tolist(), own[i].tolist(), k, weight)


@pytest.mark.parametrize("rule", DIFFERENT)
@given(case=ranked())
def test_a_set_holds_k_different_results_of_its_lists(rule, case):
    lists, own, k, weight = case
    for row, *sources in zip(merge(lists, k, Merging(rule=rule, query_weight=weight), own), lists, own):
        assert len(set(row.tolist())) == k
        assert set(row.tolist()) <= set(np.concatenate([source.ravel() for source in sources]).tolist())


@pytest.mark.parametrize("rule", RULES)
@given(case=ranked())
def test_with_weight_0_the_querys_own_list_has_no_part(rule, case):
    lists, own, k, _ = case
    how = Merging(rule=rule, query_weight=0.0)
    assert (merge(lists, k, how, own) == merge(lists, k, how)).all()


@pytest.mark.parametrize("rule", DIFFERENT)
@given(case=ranked(equal_lists=True))
def test_lists_that_agree_merge_into_what_they_say(rule, case):
    """So a search without a fan-out, whose one list is the query's own, is the same under every rule and weight."""
    lists, own, k, weight = case
    assert (merge(lists, k, Merging(rule=rule, query_weight=weight), own) == own[:, :k]).all()


@given(case=ranked(), seed=st.integers(0, 99))
def test_the_order_of_the_lists_decides_in_fusion_between_equal_votes_only(case, seed):
    lists, own, k, weight = case
    how = Merging(rule="fusion", query_weight=weight)
    other = np.random.default_rng(seed).permutation(lists.shape[1])
    for one, two, row, plain in zip(merge(lists, k, how, own), merge(lists[:, other], k, how, own), lists, own):
        votes = {}
        for ranking, vote in [(plain, weight)] + [(r, (1 - weight) / len(row)) for r in row]:
            for rank, content in enumerate(ranking.tolist(), start=1):
                votes[content] = votes.get(content, 0) + vote / (SMOOTHING + rank)
        assert [votes[i] for i in one.tolist()] == pytest.approx([votes[i] for i in two.tolist()], abs=1e-11)


@given(case=ranked())
def test_in_turns_every_list_leads_when_it_comes_first(case):
    lists, own, _, _ = case
    for rule in ("fill", "round_robin"):
        for j in range(lists.shape[1]):
            turned = np.roll(lists, -j, axis=1)
            assert (merge(turned, 1, Merging(rule=rule, query_weight=0.0)) == lists[:, j, :1]).all()
            assert (merge(turned, 1, Merging(rule=rule, query_weight=0.5), own) == own[:, :1]).all()


@given(case=ranked())
def test_top1_takes_one_rank_after_the_other_and_keeps_repeats(case):
    lists = case[0]
    n, m, c = lists.shape
    for k in range(1, m * c + 1):
        want = [[row[i % m][i // m] for i in range(k)] for row in lists.tolist()]
        assert merge(lists, k, Merging(rule="top1", query_weight=0.5)).tolist() == want


def test_examples_by_hand():
    lists, own = np.array([[[1, 2, 3], [1, 3, 4]]]), np.array([[9, 1, 8]])

    def row(rule, weight):
        return merge(lists, 3, Merging(rule=rule, query_weight=weight), own)[0].tolist()

    assert row("top1", 0.0) == [1, 1, 2]
    assert row("fill", 0.0) == [1, 3, 2]  # the second list passes on to its second, the first then to its own second
    assert row("round_robin", 0.0) == [1, 2, 3]  # 1, (1), 2, 3
    assert row("fusion", 0.0) == [1, 3, 2]  # 3 has two votes
    assert row("fill", 0.5) == [9, 1, 8]  # own, first list, own (whose 1 is taken)
    assert row("round_robin", 0.5) == [9, 1, 8]  # 9, 1, (1), (1), 8
    assert row("fusion", 0.5) == [1, 9, 3]


@pytest.fixture(scope="module")
def database():
    rng = np.random.default_rng(0)
    return Index(unit(rng.normal(size=(300, 16))).astype(np.float32))


def directions(n, m):
    rng = np.random.default_rng(1)
    rows, z_q = rng.normal(size=(n, m, 16)), rng.normal(size=(n, 16))
    return unit(rows).astype(np.float32), unit(z_q).astype(np.float32)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("k", [1, 10, 130, 300])
def test_find_searches_as_deep_as_the_rule_needs(database, rule, k):
    rows, z_q = directions(7, 4)
    how = Merging(rule=rule, query_weight=0.25)
    c = 300 if rule != "fusion" else max(k, DEPTH)
    lists = database.search(rows.reshape(-1, 16), c)[0].reshape(7, 4, c)
    want = merge(lists, k, how, database.search(z_q, c)[0])
    assert (find(database, rows, z_q, k, how) == want).all()


def test_find_takes_many_queries_in_parts_and_none_at_all(database, monkeypatch):
    rows, z_q = directions(23, 3)
    how = Merging(rule="fusion", query_weight=0.5)
    whole = find(database, rows, z_q, 10, how)
    monkeypatch.setattr("r4t_utils.space.merging.BLOCK", 5)
    assert (find(database, rows, z_q, 10, how) == whole).all()
    assert find(database, rows[:0], z_q[:0], 10, how).shape == (0, 10)


def test_a_wscr_pool_holds_as_many_different_items_for_every_rule(database):
    rows, z_q = directions(3, 5)
    for rule in DIFFERENT:
        for weight in (0.0, 0.5):
            found = find(database, rows, z_q, 299, Merging(rule=rule, query_weight=weight))
            assert all(len(set(row)) == 299 for row in found.tolist())


def test_depth_is_no_more_than_there_is():
    fusion, fill, top1 = (Merging(rule=rule, query_weight=0.0) for rule in ("fusion", "fill", "top1"))
    assert [depth(fusion, 10, k, 500) for k in (10, 200)] == [DEPTH, 200] and depth(fusion, 10, 10, 30) == 30
    assert depth(fill, 10, 10, 500) == 10 and [depth(top1, 10, k, 500) for k in (10, 11, 500)] == [1, 2, 50]


LISTS = np.array([[[1, 2, 3], [1, 3, 4]]])
FUSION = Merging(rule="fusion", query_weight=0.5)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: merge(LISTS[0], 2, FUSION), r"lists is int64 \(2, 3\).*\(n, m, c\)"),
        (lambda: merge(LISTS - 2, 2, FUSION), "from -1; it must be ids of 0 or more"),
        (lambda: merge(LISTS / 2, 2, FUSION), "lists is float64"),
        (lambda: merge(LISTS, 4, FUSION), "k=4: must be a whole number from 1 to 3; lists of 3 .* search deeper"),
        (lambda: merge(LISTS, 7, Merging(rule="top1", query_weight=0)), "k=7: .* from 1 to 6; 2 lists of 3"),
        (lambda: merge(LISTS, 2, FUSION), r"own is None; query_weight=0.5 needs the query's own list, \(1, 3\)"),
        (lambda: merge(LISTS, 2, FUSION, LISTS[0]), r"own is \(2, 3\)"),
    ],
)
def test_bad_input_names_the_value_the_rule_and_the_remedy(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_find_refuses_more_than_there_is(database):
    rows, z_q = directions(2, 3)
    with pytest.raises(ValueError, match="k=301: must be a whole number from 1 to 300; there are no more contents"):
        find(database, rows, z_q, 301, FUSION)


@pytest.mark.parametrize("values", [{"query_weight": 1.0}, {"query_weight": -0.1}, {"rule": "sum"}])
def test_a_setting_out_of_range_is_refused(values):
    with pytest.raises(ValidationError):
        SECTIONS["merging"].model_validate({"rule": "fusion", "query_weight": 0.5} | values)
