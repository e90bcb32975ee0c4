from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from datasets import Dataset
from trl import GRPOConfig

from r4t_utils.machine.progress import quiet
from r4t_utils.policy import soft_grpo
from r4t_utils.policy.prompts import frame, parse
from r4t_utils.policy.set_reward import SetReward
from r4t_utils.policy.trainer import trainer_defaults
from r4t_utils.space.index import Index

ITEMS = ["red hat", "blue hat", "boho boots", "city bag", "gold ring", "beach towel"]


def rl(**changed):
    given = {"group": 4, "lambda_g": 0.6, "lambda_d": 0.2, "lambda_a": 0.2, "diversity": "vendi", "repeats": "once"}
    return SimpleNamespace(**given | {"alignment": "text", "terms": "as_is", "credit": "set"} | changed)


def reward(task="oar", k=3, n=1, **changed):
    encoder = tiny.WordEncoder()
    return SetReward(task, encoder, Index(encoder.text(ITEMS)), rl(**changed), k, n)


GOOD = frame(["red hat", "boho boots", "city bag"])
FAULTY = [
    "",
    "red hat, boho boots",
    '<queries>["red hat"]</queries>',
    '<queries>["red hat", "b"',
    '<queries>["red hat", "", "city bag"]</queries>',
    frame(["red hat", "boho boots"]),
]


@pytest.mark.parametrize("diversity", ["vendi", "vendi_over_k"])
def test_malformed_fanouts_earn_the_least(diversity):
    poor = frame(["zz", "zz", "zz"])  # off topic, ungrounded and repeated, yet well formed
    texts = [GOOD, poor, *FAULTY]
    earned = reward(diversity=diversity)(texts, ["boho city"] * len(texts))
    assert len(set(earned[2:])) == 1
    assert earned[0] > earned[1] >= earned[2] == min(0, earned[1])


def test_malformed_fanouts_lose_what_one_item_is_worth():
    texts, everything = [GOOD, *FAULTY], list(range(len(ITEMS)))  # whatever an empty slot found would be in Y
    earned = reward("wscr")(texts, ["boho"] * len(texts), [everything] * len(texts))
    assert earned == [0.5] + [-1 / len(ITEMS)] * len(FAULTY)


def test_a_repeated_sub_query_counts_once():
    score = reward().score
    fanouts = [["red hat"] * 3, ["red hat", "red hat", "city bag"], ["red hat", "gold ring", "city bag"]]
    total, parts = score(["hat"] * 3, fanouts)
    assert parts["div"][0] == pytest.approx(1) and parts["div"][0] < parts["div"][1] < parts["div"][2] <= 3
    # Every one of them is an item's own text.
    np.testing.assert_allclose(parts["ground"], [1 / 3, 2 / 3, 1], atol=1e-3)
    np.testing.assert_allclose(total, 0.6 * parts["ground"] + 0.2 * parts["div"] + 0.2 * parts["align"])


@pytest.mark.parametrize("again", ["Red hat", "red  hat!", "red-hat", "red\u200b hat", "ｒｅｄ hat"])
def test_a_repeat_in_another_form_is_one(again):
    """An encoder that sees no difference, as a real one hardly does, must not be paid twice."""
    it = reward()
    text = it.encoder.text
    it.encoder.text = lambda texts: text(["red hat" if sub == again else sub for sub in texts])
    found, twice, thrice = it.score(
        ["hat"] * 3, [["red hat", again, "gold ring"], ["red hat", "red hat", "gold ring"], [again, again, "red hat"]]
    )[1]["align"]
    assert found == twice > thrice > 0


def test_repeats_earn_again_where_the_sums_are_taken_as_printed():
    fanouts = [["red hat"] * 3, ["red hat", "red hat", "city bag"]]
    _, once = reward().score(["hat"] * 2, fanouts)
    _, printed = reward(repeats="printed").score(["hat"] * 2, fanouts)
    np.testing.assert_allclose(printed["ground"], 1, atol=1e-3)
    assert printed["align"][0] == pytest.approx(3 * once["align"][0]) and (printed["align"] > once["align"]).all()
    np.testing.assert_array_equal(printed["div"], once["div"])


def test_a_sub_query_that_stutters_covers_nothing():
    plain, stutter = frame(["red hat", "boho boots", "city bag"]), frame(["red hat hat", "boho boots", "city bag"])
    everything, printed = [list(range(len(ITEMS)))] * 2, reward("wscr", repeats="printed")
    assert reward("wscr")([plain, stutter], ["q"] * 2, everything) == [3 / 6, 2 / 6]
    assert printed([plain, stutter], ["q"] * 2, everything) == [3 / 6, 3 / 6]
    assert reward("wscr")([stutter.replace("hat hat", "hat Hat!")], ["q"], everything[:1]) == [2 / 6]


def test_coverage_needs_the_reference_sets():
    with pytest.raises(ValueError, match="0 reference sets for 2 results"):
        reward("wscr")([GOOD] * 2, ["q"] * 2)


def test_terms_by_hand():
    encoder = tiny.WordEncoder()
    subs, query = ["red boots", "city towel", "ring"], "boho ring"
    _, parts = reward().score([query], [subs])
    Q, D, z = encoder.text(subs).astype(float), encoder.text(ITEMS).astype(float), encoder.text([query])[0]
    distance = np.linalg.norm(Q[:, None] - D, axis=-1)
    C = D[distance.argmin(1)]
    p = np.linalg.eigvalsh(C @ C.T / 3).clip(1e-12)
    assert parts["ground"][0] == pytest.approx(1 - distance.min(1).mean(), abs=1e-4)
    assert parts["div"][0] == pytest.approx(np.exp(-(p * np.log(p)).sum()), abs=1e-4)
    assert parts["align"][0] == pytest.approx((Q @ z).mean(), abs=1e-5)


def test_alignment_of_what_is_found_is_that_of_the_contents():
    encoder = tiny.WordEncoder()
    subs, query = ["red boots", "city towel", "ring"], "boho ring"
    (total,), parts = reward(alignment="found").score([query], [subs])
    Q, D, z = encoder.text(subs).astype(float), encoder.text(ITEMS).astype(float), encoder.text([query])[0]
    found = D[(Q @ D.T).argmax(1)]
    assert parts["align"][0] == pytest.approx((found @ z).mean(), abs=1e-5)
    assert abs(parts["align"][0] - (Q @ z).mean()) > 0.05
    assert total == pytest.approx(0.6 * parts["ground"][0] + 0.2 * parts["div"][0] + 0.2 * parts["align"][0])


@pytest.mark.parametrize("task, weight", [("oar", "lambda_g"), ("oar", "lambda_a"), ("oar", "lambda_d"), ("wscr", "")])
def test_credit_is_what_a_sub_query_is_worth_to_its_set(task, weight):
    """Of three sub-queries the last is the best by each part of the reward, and the second brings nothing new."""
    only = dict.fromkeys(("lambda_g", "lambda_d", "lambda_a"), 0.0) | ({weight: 1.0} if weight else {})
    given = reward(task, credit="sub_query", diversity="vendi_over_k", **only)
    asked = {
        "lambda_g": (["red zz", "blue zz", "city bag"], "hat"),
        "lambda_a": (["red hat", "blue hat", "city bag"], "city"),
        "lambda_d": (["red hat", "red hats hat", "city bag"], "hat"),
        "": (["red hat", "hat red", "city bag"], "hat"),
    }
    fanout, query = asked[weight]
    given([frame(fanout), "malformed"], [query] * 2, [[0, 3], [0, 3]])
    first, second, best = given.credit[0]
    assert best > max(first, second) and given.credit[0].sum() == pytest.approx(0)
    assert (given.credit[1] == 0).all()


def test_credit_differs_from_the_gain_by_a_constant():
    fanout, given = ["red hat", "boho boots", "city bag"], reward(credit="sub_query")
    given([frame(fanout)], ["hat"])
    without = [reward(k=2).score(["hat"], [fanout[:i] + fanout[i + 1 :]])[0][0] for i in range(3)]
    gain = reward().score(["hat"], [fanout])[0][0] - np.array(without)
    np.testing.assert_allclose(given.credit[0], gain - gain.mean(), atol=1e-9)


def test_two_sub_queries_that_say_the_same_are_worth_the_same():
    given = reward(credit="sub_query")
    given([frame(["red hat", "red hat", "city bag"])], ["hat"])
    first, second, third = given.credit[0]
    assert first == pytest.approx(second) and third > first


def test_standardised_terms_are_for_training_and_keep_the_scale_of_no_term():
    texts = [GOOD, frame(["red hat", "blue hat", "boho hat"]), frame(["zz", "yy", "xx"]), FAULTY[0]]
    given, total = reward(terms="standardised"), reward().score
    earned = np.array(given(texts * 2, ["boho city"] * 4 + ["gold hat"] * 4))
    parts = total(
        ["boho city"] * 3,
        [["red hat", "boho boots", "city bag"], ["red hat", "blue hat", "boho hat"], ["zz", "yy", "xx"]],
    )[1]
    z = [(parts[name] - parts[name].mean()) / parts[name].std() for name in ("ground", "div", "align")]
    np.testing.assert_allclose(earned[:3], 0.6 * z[0] + 0.2 * z[1] + 0.2 * z[2], atol=1e-6)
    assert earned[3] == earned[7] == earned[[0, 1, 2, 4, 5, 6]].min() < 0
    asked = ["boho city"], [["red hat", "boho boots", "city bag"]]
    assert given.score(*asked)[0] == total(*asked)[0]  # no group to be standardised in
    assert given.rows[0]["reward"] == pytest.approx(
        reward(terms="as_is")
        .score(
            ["boho city"] * 4 + ["gold hat"] * 4,
            [*[["red hat", "boho boots", "city bag"], ["red hat", "blue hat", "boho hat"], ["zz", "yy", "xx"], []]] * 2,
        )[0]
        .mean()
    )


class Written(soft_grpo.SampledGRPOTrainer):
    """Its completions are of two tokens, whatever it is asked: only what is earned counts."""

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        return [[5, 6]] * len(prompt_ids), None


def test_standardised_terms_rank_as_trls_normalize_then_sum(tmp_path):
    """The advantages of TRL's trainer for three reward functions, up to the scale that it gives the whole batch."""
    texts = [GOOD, frame(["red hat", "blue hat", "boho hat"]), frame(["zz", "yy", "xx"]), frame(["hat", "bag", "ring"])]
    queries = ["boho city"] * 4 + ["gold hat"] * 4
    earned = np.array(reward(terms="standardised")(texts * 2, queries))
    parts = reward().score(queries, [parse(text, 3).queries for text in texts * 2])[1]
    columns = [parts[name].tolist() for name in ("ground", "div", "align")]
    config = GRPOConfig(
        output_dir=str(tmp_path),
        num_generations=4,
        per_device_train_batch_size=8,
        reward_weights=[0.6, 0.2, 0.2],
        multi_objective_aggregation="normalize_then_sum",
        **trainer_defaults(0, half=False),
    )
    policy, rows = tiny.policy(), [{"prompt": query, "query": query} for query in queries]
    functions = [lambda completions, column=column, **_: column for column in columns]
    with quiet():
        trl = Written(policy.model, functions, config, Dataset.from_list(rows), processing_class=policy.tokenizer)
    found = trl._generate_and_score_completions(rows)["advantages"].numpy()
    np.testing.assert_allclose((earned - earned.mean()) / earned.std(ddof=1), found, atol=2e-3)


def test_product_lets_alignment_gate_diversity():
    texts = [GOOD, frame(["red hat", "red hat hat", "hat red"]), FAULTY[0]]
    given = reward(terms="product", diversity="vendi")
    earned = given(texts, ["boho city"] * 3)
    parts = given.score(["boho city"] * 2, [parse(text, 3).queries for text in texts[:2]])[1]
    np.testing.assert_allclose(earned[:2], parts["align"].clip(0) * parts["div"] / 3, atol=1e-6)
    assert earned[0] > earned[1] > 0 == earned[2]
    as_is, _ = reward().score(["boho city"] * 3, [parse(text, 3).queries for text in texts[:2]] + [[]])
    assert given.rows[0]["reward"] == pytest.approx(as_is.mean())  # curves keep Eq. 1


def test_each_query_of_a_batch_has_its_own_alignment():
    score, fanout = reward().score, ["red hat", "blue hat", "hat"]
    _, parts = score(["red hat", "beach towel"], [fanout, fanout])
    assert parts["align"][0] > parts["align"][1] + 0.3


def test_coverage_by_hand():
    fanouts = [["red hat", "boho boots", "city bag"], ["red hat"] * 3, ["gold ring", "beach towel", "city bag"]]
    texts, reference = [frame(f) for f in fanouts], [[0, 2, 4, 5], [0, 3], [1]]
    assert reward("wscr")(texts, ["q"] * 3, reference) == [2 / 4, 1 / 2, 0.0]
    every = reward("wscr", n=len(ITEMS))(texts, ["q"] * 3, reference)
    assert every == [1.0, 1.0, 1.0]  # a deep enough search covers everything


def test_rows_keep_the_components_and_the_spread():
    it = reward()
    earned = np.array(it([GOOD, GOOD, FAULTY[0], FAULTY[1], *[GOOD] * 4], ["boho"] * 8))
    assert len(it.rows) == 1 and it.rows[0]["well_formed"] == 0.75
    assert it.rows[0]["reward"] == pytest.approx(earned.mean())
    assert it.rows[0]["reward_std"] == pytest.approx((earned[:4].std() + 0) / 2)  # within groups, not across
    assert {"ground", "div", "align"} <= set(it.rows[0])


@pytest.mark.training
def test_the_reward_sees_queries_and_references(tmp_path):
    seen = []
    it = reward("wscr")
    it.score = lambda query, fanouts, reference, stutters: (
        seen.append((query, reference)) or (np.arange(len(query)) * 0.1, {})
    )
    s, policy = tiny.settings("rl.steps=1 rl.learning_rate=1e-2"), tiny.policy()
    queries, references = tiny.QUERIES["oar"], [[0], [1, 2], [3], [4, 5]]
    soft_grpo.train(policy, "wscr", queries, it, s.rl, 0, references=[np.array(r) for r in references])
    ((given, refs),) = seen
    assert len(given) == 8 and sorted(given.count(q) for q in set(given)) == [4, 4]
    assert all(list(ref) == references[queries.index(query)] for query, ref in zip(given, refs, strict=True))
