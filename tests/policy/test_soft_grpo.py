import gc
import re
import weakref

import numpy as np
import pytest
import tiny
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import Toy
from trl import GRPOConfig, GRPOTrainer

from r4t_utils.machine.progress import quiet
from r4t_utils.policy import soft_grpo
from r4t_utils.policy.folm import Folm
from r4t_utils.policy.prompts import frame
from r4t_utils.policy.sampling import sample
from r4t_utils.policy.soft_grpo import Cost, SampledGRPOTrainer, SoftGRPOTrainer, soft_terms, spread_within
from r4t_utils.policy.trainer import trainer_defaults

pytestmark = pytest.mark.training

# The soft terms of Eq. 8


def tokens(seed=0, B=4, T=6):
    g = torch.Generator().manual_seed(seed)
    log_pi = -torch.rand(B, T, generator=g, dtype=torch.float64) * 3
    log_pi_old = log_pi + 0.4 * torch.randn(B, T, generator=g, dtype=torch.float64)
    return log_pi.requires_grad_(), log_pi_old


def gradient(loss, log_pi):
    return torch.autograd.grad(loss, log_pi, retain_graph=True)[0]


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 5, width=32), st.booleans())
def test_gradient_is_exactly_zero_on_policy_with_equal_betas(seed, beta, given_old):
    log_pi, _ = tokens(seed)
    old = log_pi.detach().clone() if given_old else None
    assert (gradient(soft_terms(log_pi, old, beta, beta).sum(), log_pi) == 0).all()


def test_gradient_on_policy_is_the_difference_of_the_betas():
    log_pi, _ = tokens()
    found = gradient(soft_terms(log_pi, None, 0.3, 0.1).sum(), log_pi)
    torch.testing.assert_close(found, torch.full_like(log_pi, 0.3 - 0.1))


@pytest.mark.parametrize("beta1, beta2", [(0.05, 0.05), (0.3, 0.0), (0.0, 0.2)])
def test_soft_terms_off_policy_are_those_of_equation_8(beta1, beta2):
    log_pi, log_pi_old = tokens()
    ours = soft_terms(log_pi, log_pi_old, beta1, beta2)
    rho = torch.exp(log_pi) / torch.exp(log_pi_old)
    by_hand = beta1 * rho * (log_pi - log_pi_old) - beta2 * log_pi
    torch.testing.assert_close(ours, by_hand)
    ours, by_hand = ours.sum(), by_hand.sum()
    torch.testing.assert_close(gradient(ours, log_pi), gradient(by_hand, log_pi))
    assert gradient(ours, log_pi).abs().max() > 1e-4


def test_expected_soft_terms_are_the_two_divergences():
    """Over samples of pi_old: beta1 KL(pi||old) + beta2 KL(old||pi), up to the entropy of old."""
    p, old = torch.tensor([0.5, 0.3, 0.2]).log(), torch.tensor([0.2, 0.2, 0.6]).log()
    each = torch.stack([soft_terms(p[i].view(1, 1), old[i].view(1, 1), 0.7, 0.3).sum() for i in range(3)])
    forward, reverse = (p.exp() * (p - old)).sum(), (old.exp() * (old - p)).sum()
    entropy = -(old.exp() * old).sum()
    torch.testing.assert_close((old.exp() * each).sum(), 0.7 * forward + 0.3 * (reverse + entropy))


# The trainer against TRL's


class Stock(GRPOTrainer):
    """TRL's own trainer, but for who samples: with the same completions, all that differs is the loss."""

    cost, draw = Cost(), staticmethod(sample)
    _generate_single_turn = SampledGRPOTrainer._generate_single_turn


def spread(completions, **_):
    """A reward that tells completions apart."""
    return [float(sum(map(ord, text)) % 17) for text in completions]


def trainer(folder, cls=SoftGRPOTrainer, iterations=1, accumulate=1, updates=1, epsilon=0.2, **betas):
    policy = tiny.policy()
    config = GRPOConfig(
        output_dir=str(folder),
        max_steps=2,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        per_device_train_batch_size=8 // accumulate,
        gradient_accumulation_steps=accumulate,
        num_generations=4,
        num_iterations=iterations,
        steps_per_generation=updates * accumulate,
        beta=0.0,
        loss_type="dapo",
        scale_rewards="group",
        epsilon=epsilon,
        temperature=1.0,
        max_completion_length=8,
        **trainer_defaults(0, half=False),
    )
    data = Dataset.from_dict({"prompt": [policy.prompt("oar", q) for q in tiny.QUERIES["oar"]]})
    with quiet():
        return cls(
            policy.model,
            reward_funcs=spread,
            args=config,
            train_dataset=data,
            processing_class=policy.tokenizer,
            **betas,
        )


def trained(*args, **kwargs):
    it = trainer(*args, **kwargs)
    before = {name: p.detach().clone() for name, p in it.model.named_parameters()}
    with quiet():
        it.train()
    after = {name: p.detach() for name, p in it.model.named_parameters()}
    assert any(not torch.equal(before[name], after[name]) for name in before)
    return after


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


# parts that an update accumulates, updates that a sampled batch is split into
SHARED = [(1, 1), (2, 1), (4, 1), (2, 2)]


@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("accumulate, updates", SHARED)
def test_without_soft_terms_it_is_trls_trainer_to_the_bit(tmp_path, accumulate, updates, iterations):
    shared = {"accumulate": accumulate, "updates": updates, "iterations": iterations}
    assert equal(trained(tmp_path, beta1=0.0, beta2=0.0, **shared), trained(tmp_path, Stock, **shared))


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_equal_betas_change_nothing_on_policy(tmp_path, accumulate):
    """With Table 3's settings the method is plain GRPO: one update a batch leaves the soft terms inert."""
    soft = trained(tmp_path, accumulate=accumulate, beta1=0.05, beta2=0.05)
    assert equal(soft, trained(tmp_path, Stock, accumulate=accumulate))


def test_unequal_betas_act_on_policy(tmp_path):
    assert not equal(trained(tmp_path, beta1=0.05, beta2=0.0), trained(tmp_path, Stock))


def test_equal_betas_act_once_a_batch_is_reused(tmp_path):
    soft = trained(tmp_path, iterations=2, beta1=0.05, beta2=0.05)
    assert not equal(soft, trained(tmp_path, Stock, iterations=2))


@pytest.mark.parametrize("accumulate, updates", SHARED)
def test_the_loss_of_a_training_is_equation_8_by_trls_own_counts(tmp_path, accumulate, updates):
    """Every loss of a real training against Eq. 8 over the inputs that TRL made for it: an update's is a sum over its
    parts, each divided by the tokens of all of them."""
    it = trainer(tmp_path, accumulate=accumulate, updates=updates, iterations=2, beta1=0.3, beta2=0.1)
    given, found = [], []

    def kept(model, inputs):
        found.append(SoftGRPOTrainer._compute_loss(it, model, inputs))
        old = inputs.get("old_per_token_logps")
        given.append((it._log_pi.detach(), old, inputs["completion_mask"], inputs["advantages"][:, None]))
        return found[-1]

    it._compute_loss = kept
    with quiet():
        it.train()
    assert len(found) == 2 * accumulate
    for first in range(0, len(found), accumulate):
        sampled_once = updates * accumulate  # parts of a sampled batch: its tokens, over the updates, are the divisor
        batch = given[first // sampled_once * sampled_once :][:sampled_once]
        assert len(batch) == sampled_once
        tokens_each = sum(int(mask.sum()) for _, _, mask, _ in batch) / updates
        for (log_pi, old, mask, A), loss in zip(given[first:][:accumulate], found[first:]):
            rho = torch.ones_like(log_pi) if old is None else (log_pi - old).exp()
            each = 0.3 * rho * rho.log() - 0.1 * log_pi - torch.minimum(rho * A, rho.clamp(0.8, 1.2) * A)
            expected = (each * mask).sum() / tokens_each
            torch.testing.assert_close(loss.detach(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("accumulate, updates", [(1, 1), (4, 1), (1, 2), (4, 2)])
def test_the_whole_loss_off_policy_is_equation_8(tmp_path, accumulate, updates):
    """_compute_loss against the equation written out over the model's own logits: value, and gradient of every weight.

    The four completions are one of ``accumulate`` parts of one of the ``updates`` that a sampling round of 40 tokens
    serves. Prompts of other lengths are padded on the left; the first completion is as long as allowed, and has no end.
    """
    it = trainer(tmp_path, accumulate=accumulate, updates=updates, beta1=0.3, beta2=0.1)
    it.current_gradient_accumulation_steps = accumulate
    model, g = it.model.double().train(), torch.Generator().manual_seed(0)
    B, P, T = 4, 3, 5
    prompt, completion = (torch.randint(3, len(it.processing_class), (B, n), generator=g) for n in (P, T))
    asked = (torch.arange(P) >= torch.tensor([0, 2, 1, 0])[:, None]).long()
    mask = (torch.arange(T) < torch.tensor([5, 3, 1, 4])[:, None]).long()
    seen = torch.cat([asked, mask], 1)
    logits = model(torch.cat([prompt, completion], 1), attention_mask=seen).logits
    log_pi = logits.log_softmax(-1)[:, P - 1 : -1].gather(2, completion[..., None])[..., 0]
    old = log_pi.detach() + 0.5 * torch.randn(B, T, generator=g)
    A, eps, weights = torch.tensor([1.0, -1.0, 0.5, -0.5]).double(), 0.2, [*model.parameters()]
    rho = (log_pi - old).exp()
    each = -torch.minimum(rho * A[:, None], rho.clamp(1 - eps, 1 + eps) * A[:, None])
    each = each + 0.3 * rho * (log_pi - old) + 0.1 * -log_pi
    expected = (each * mask).sum() / (40 / updates)
    ours = it._compute_loss(
        model,
        {
            "prompt_ids": prompt,
            "prompt_mask": asked,
            "completion_ids": completion,
            "completion_mask": mask,
            "advantages": A,
            "old_per_token_logps": old,
            "num_items_in_batch": torch.tensor(40),
        },
    )
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=0)
    wanted, found = (torch.autograd.grad(loss, weights, retain_graph=True) for loss in (expected, ours))
    for want, got in zip(wanted, found):
        assert (got - want).norm() <= 1e-6 * want.norm()  # TRL's log-probabilities are of float32


def test_credit_moves_the_tokens_of_its_sub_query_alone(tmp_path):
    """Advantages by token are those of the fan-out plus the credit of the sub-query that a token is in."""
    it = trainer(tmp_path, beta1=0.0, beta2=0.0, credited=True)
    fanouts = [frame(["red hat", "boho boots", "city bag"]), frame(["red hat", "city bag"])]
    ids = [it.processing_class(text)["input_ids"] for text in fanouts]
    T = max(map(len, ids))
    rows = torch.tensor([row + [it.processing_class.pad_token_id] * (T - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (T - len(row)) for row in ids]).bool()
    credit = np.array([[1.0, -3.0, 2.0], [5.0, 5.0, 5.0]])
    found = it._of_tokens(credit, rows, mask)
    said = {value: it.processing_class.decode(rows[0][found[0] == value]) for value in credit[0]}
    assert all(text in said[value] for text, value in zip(["red hat", "boho boots", "city bag"], credit[0]))
    assert (found[1] == 0).all() and (found[~mask] == 0).all()  # two sub-queries, where three have credit


def test_credit_is_scaled_within_its_group():
    credit = np.random.default_rng(0).normal(size=(6, 4)) * np.repeat([1.0, 100.0], 3)[:, None]
    scaled = spread_within(credit, 3)
    np.testing.assert_allclose(scaled.reshape(2, -1).std(1), 1, atol=1e-2)
    assert (np.sign(scaled) == np.sign(credit)).all()


# Training


def train(toy, overrides="", freeze=False, seed=0, checkpoints=None):
    s = tiny.settings(overrides)
    policy = tiny.policy(overrides)
    if freeze:
        policy.model.requires_grad_(False)
    return policy, soft_grpo.train(policy, "oar", tiny.QUERIES["oar"], toy, s.rl, seed, checkpoints)


def test_training_raises_the_reward():
    _, rows = train(Toy(), "rl.steps=60 rl.learning_rate=2e-2")
    earned = [row["reward"] for row in rows]
    assert np.mean(earned[-4:]) > 2 * np.mean(earned[:4])
    assert rows[-1]["entropy"] < rows[0]["entropy"] - 1
    assert [row["step"] for row in rows] == list(range(1, 61))
    assert all(np.isfinite([row["entropy"], row["clipped"], row["tokens"]]).all() for row in rows)
    assert 0 < rows[0]["tokens"] <= 16


def test_a_bandit_is_solved():
    """A reward of the first letter alone: in the end the policy plays the best arms, which earn 1, and no others."""
    toy = Toy(lambda text: ord(text[0]) * 7 % 11 / 10 if text else 0.0)
    _, rows = train(toy, "rl.steps=80 rl.learning_rate=5e-2 folm.max_new_tokens=4 rl.reference_kl=0 rl.group=8")
    earned = [row["reward"] for row in rows]
    assert np.mean(earned[:5]) < 0.7 and np.mean(earned[-5:]) > 0.95


def test_the_trainer_samples_from_the_policys_nucleus():
    groups = []

    def reward(completions, query, **_):
        groups.append({(q, text) for q, text in zip(query, completions)})
        return [float(i) for i in range(len(completions))]

    reward.rows = [{"well_formed": 0.0}]
    train(reward, "rl.steps=1 folm.top_p=1e-6")
    assert [len(group) for group in groups] == [2]  # one answer for each of the two prompts of a step


def test_cost_is_printed(capsys, monkeypatch):
    lengths = []

    def counted(*given, **how):
        rows = sample(*given, **how)
        lengths.extend(map(len, rows))
        return rows

    monkeypatch.setattr(soft_grpo, "sampler", lambda settings: counted)
    train(Toy(), "rl.steps=4 rl.learning_rate=2e-2 rl.num_iterations=2")
    said = capsys.readouterr().out
    assert f"oar: {sum(lengths):,} tokens sampled and {2 * sum(lengths):,} trained in" in said
    shares = [int(share) for share in re.findall(r"(?:sampling|scoring|updating) \d+ s \((\d+)%\)", said)]
    assert len(shares) == 3 and 99 <= sum(shares) <= 101 and shares[0] > 0 and shares[2] > 0


def test_a_copy_to_sample_from_is_gone_before_the_next(monkeypatch):
    copies, alive, sampled = [], [], soft_grpo.sampled

    def remembered(model, half):
        alive.append([ref for ref in copies if ref() is not None])
        copy = sampled(model, half)
        copies.append(weakref.ref(copy))
        return copy

    monkeypatch.setattr(soft_grpo, "sampled", remembered)
    monkeypatch.setattr(Folm, "half", True)  # with bfloat16, accelerate wraps the model's forward
    gc.disable()  # which would free the copies now and then, and late
    try:
        train(Toy(), "rl.steps=3")
    finally:
        gc.enable()
    assert alive == [[], [], []]


def test_what_trl_would_choose_by_itself_is_set(monkeypatch):
    given, config = {}, soft_grpo.GRPOConfig
    monkeypatch.setattr(soft_grpo, "GRPOConfig", lambda **options: given.update(options) or config(**options))
    train(Toy(), "rl.steps=1 rl.learning_rate=2e-2")
    assert given["use_bias_correction_kl"] is True
    assert (given["loss_type"], given["scale_rewards"]) == ("dapo", "group")


def test_same_seed_same_weights():
    weights = [train(Toy(), "rl.steps=2 rl.learning_rate=1e-2", seed=seed)[0].model.state_dict() for seed in (0, 0, 1)]
    assert equal(weights[0], weights[1]) and not equal(weights[0], weights[2])


# A step that reuses a batch logs no completion length: `_curves` must not ask for it in every row.
@pytest.mark.parametrize(
    "reuse, each",
    [
        ("rl.num_iterations=2", 2),
        ("rl.steps_per_generation=2", 2),
        ("rl.num_iterations=2 rl.steps_per_generation=2", 4),
    ],
)
def test_curves_name_the_sampling_round_of_every_update(reuse, each):
    toy = Toy()
    _, rows = train(toy, f"rl.steps={2 * each} rl.learning_rate=1e-2 {reuse}")
    assert len(toy.rows) == 2 and len(rows) == 2 * each
    assert [row["reward"] for row in rows] == [toy.rows[i // each]["reward"] for i in range(2 * each)]


def test_nothing_trainable_is_an_error():
    with pytest.raises(ValueError, match="no trainable parameter.*is_trainable=True"):
        train(Toy(), freeze=True)


def test_equal_rewards_that_move_nothing_are_an_error():
    with pytest.raises(ValueError, match="moved no weight.*equal rewards"):
        train(Toy(lambda text: 0.5))


class Forgetful(Toy):
    """Shares of well-formed fan-outs as they are told, one for each batch; the last for all that follow."""

    def __init__(self, *shares):
        super().__init__()
        self.shares = shares

    def __call__(self, completions, **given):
        values = super().__call__(completions, **given)
        self.rows[-1]["well_formed"] = self.shares[min(len(self.rows), len(self.shares)) - 1]
        return values


def test_a_policy_that_lost_the_form_is_given_up():
    reward = Forgetful(0.5, 0)
    with pytest.raises(ValueError, match=r"update 4.*last 3 batches.*50%.*lower rl.learning_rate=.*rl.reference_kl="):
        train(reward, "rl.steps=9")
    assert len(reward.rows) == 4


@pytest.mark.parametrize("shares", [(0.0,), (0.5, 0, 0, 0.1, 0, 0)])
def test_a_policy_that_comes_back_or_never_knew_the_form_goes_on(shares):
    assert len(train(Forgetful(*shares), "rl.steps=6")[1]) == 6
