import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import KINDS, PAD, PROMPTS, V, model
from scipy import stats

from r4t_utils.policy import sampling
from r4t_utils.policy.sampling import draw, sample


@pytest.fixture(scope="module")
def llama():
    return model()


def generated(policy, prompts, ends, tokens, **options):
    """What `generate` completes the prompts with, each cut behind its first end."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    given = {"attention_mask": mask, "max_new_tokens": tokens, "pad_token_id": PAD, "eos_token_id": list(ends) or None}
    with torch.inference_mode():
        rows = policy.generate(input_ids=ids, **given, **options)[:, longest:].tolist()
    return [row[: next((i + 1 for i, token in enumerate(row) if token in ends), len(row))] for row in rows]


def greedy(policy, prompts, ends=(), tokens=12):
    return sample(policy, prompts, ends, max_new_tokens=tokens, temperature=0, seed=0)


# Equal to `generate`


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_completions_are_those_of_generate(kind):
    policy = model(kind)
    assert greedy(policy, PROMPTS) == generated(policy, PROMPTS, (), 12, do_sample=False)


@pytest.mark.parametrize("window", [4, 8])
def test_a_window_of_attention_counts_tokens_and_no_padding(window):
    """Some of Gemma's layers see the latest tokens alone."""
    policy = model("gemma3", sliding_window=window, layer_types=["sliding_attention", "full_attention"])
    assert greedy(policy, PROMPTS) == generated(policy, PROMPTS, (), 12, do_sample=False)
    assert greedy(policy, PROMPTS) != greedy(model("gemma3"), PROMPTS)


@pytest.mark.parametrize("share", [0.1, 0.5, 2.0])
def test_rows_that_leave_change_nothing_for_the_others(llama, monkeypatch, share):
    free = greedy(llama, PROMPTS)
    ends = {free[0][1], free[1][4]}  # so that rows end at different steps, and some not at all
    monkeypatch.setattr(sampling, "LEAVE", share)
    found = greedy(llama, PROMPTS, ends)
    assert found == generated(llama, PROMPTS, ends, 12, do_sample=False)
    assert len(set(map(len, found))) > 1


@pytest.mark.parametrize("prompts", [[[5]], [[5], [6]], [[5, 6], [5, 6]], [[7, 8, 9], [5]]])
def test_prompts_that_share_nothing_or_everything(llama, prompts):
    assert greedy(llama, prompts) == generated(llama, prompts, (), 12, do_sample=False)


@pytest.mark.parametrize("precision, top_p", [(torch.float32, 0.7), (torch.bfloat16, 1.0)])
def test_the_distribution_is_that_of_generate(precision, top_p):
    """The first two tokens of many completions, by both; a test of homogeneity over the commonest pairs. In bfloat16
    without a nucleus, since rounding moves tokens across its edge."""
    llama, n, options = model().to(precision), 4000, {"temperature": 0.8, "top_p": top_p}
    prompts = [PROMPTS[0], PROMPTS[1]] * (n // 2)
    ours = sample(llama, prompts, (), max_new_tokens=2, seed=1, **options)
    torch.manual_seed(1)
    theirs = generated(llama, prompts, (), 2, do_sample=True, top_k=0, **options)
    for start in range(2):
        pairs = [[tuple(row) for row in rows[start::2]] for rows in (ours, theirs)]
        common = sorted({pair for pair in pairs[1] if pairs[1].count(pair) >= 20})
        table = np.array([[rows.count(pair) for pair in common] for rows in pairs])
        rest = n // 2 - table.sum(1, keepdims=True)
        assert len(common) > 5 and stats.chi2_contingency(np.hstack([table, rest + 1])).pvalue > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_is_given_states_that_lie_together(kind):
    """Else torch makes a copy of its weights for each row."""
    policy, given = model(kind), []
    policy.lm_head.register_forward_pre_hook(lambda head, inputs: given.append(inputs[0]))
    greedy(policy, PROMPTS, tokens=3)
    assert max(map(len, given)) > 1 and all(states.is_contiguous() and states.shape[1] == 1 for states in given)


# The draw


def nucleus(logits, temperature, top_p):
    """The distribution, by sorting: tokens in falling order until `top_p` of the mass is reached."""
    p = (logits.double() / temperature).softmax(-1).numpy()
    order = np.argsort(-p)
    kept = order[np.cumsum(p[order]) - p[order] < top_p]
    q = np.zeros_like(p)
    q[kept] = p[kept] / p[kept].sum()
    return q


@pytest.mark.parametrize("top_p", [0.2, 0.6, 0.98, 1.0])
@pytest.mark.parametrize("temperature", [0.5, 1.5])
def test_frequencies_are_those_of_the_nucleus(temperature, top_p):
    logits, n = 2 * torch.randn(30, generator=torch.Generator().manual_seed(3)), 20_000
    drawn = draw(logits.expand(n, -1), temperature, top_p, torch.Generator().manual_seed(4))
    expected = nucleus(logits, temperature, top_p)
    counts = np.bincount(drawn.numpy(), minlength=30)
    assert not counts[expected == 0].any()
    often = expected * n >= 5
    if often.sum() > 1:
        rare = [counts[~often].sum()], [n * expected[~often].sum()]
        observed, wanted = np.append(counts[often], rare[0]), np.append(n * expected[often], rare[1])
        kept = wanted > 0
        assert stats.chisquare(observed[kept], wanted[kept] * observed[kept].sum() / wanted[kept].sum()).pvalue > 1e-4


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.floats(0.05, 1), st.floats(0.1, 3))
def test_no_draw_leaves_the_nucleus(seed, top_p, temperature):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(6, 12, generator=generator)
    logits[:, 5] = -torch.inf  # a token that is forbidden
    for row, token in zip(logits, draw(logits, temperature, top_p, generator)):
        p = (row / temperature).softmax(-1)
        assert p[p > p[token]].sum() < top_p + 1e-6 and p[token] > 0


# Seeds, ends and bad input


def test_the_same_seed_gives_the_same_completions(llama):
    options = {"max_new_tokens": 8, "temperature": 1.0, "top_p": 0.9}
    first, again, other = (sample(llama, PROMPTS, (3,), seed=seed, **options) for seed in (1, 1, 2))
    assert first == again != other


def test_rows_of_one_prompt_are_drawn_each_for_itself(llama):
    rows = sample(llama, [[5, 6]] * 50, (), max_new_tokens=6, temperature=1.0, seed=0)
    assert len(set(map(tuple, rows))) > 25


def test_a_completion_holds_its_first_end_and_nothing_behind(llama):
    ends = {3, 4, 9, 20, 21, 22}
    rows = sample(llama, [[5, 6]] * 60, ends, max_new_tokens=9, temperature=1.5, seed=0)
    assert {len(row) for row in rows} > {2, 9}
    for row in rows:
        assert not ends & set(row[:-1]) and (len(row) == 9 or row[-1] in ends)


def test_the_model_is_left_as_it_was(llama):
    before = llama.config._attn_implementation
    greedy(llama, PROMPTS)
    assert llama.config._attn_implementation == before == "sdpa"
    with pytest.raises(IndexError):
        greedy(llama, [[V + 1]])
    assert llama.config._attn_implementation == before


def test_no_prompts_no_completions(llama):
    assert greedy(llama, []) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens=0: must be a whole number"),
        ({"temperature": -1.0}, "temperature=-1.0 must be 0 or more"),
        ({"temperature": float("nan")}, "temperature=nan must be 0 or more"),
        ({"top_p": 0.0}, "top_p=0.0 above 0"),
        ({"top_p": 1.5}, "top_p=1.5 above 0"),
        ({"prompts": [[5], []]}, "a prompt is empty"),
    ],
)
def test_bad_input_is_refused(llama, change, said):
    given = {"prompts": PROMPTS, "max_new_tokens": 4, "temperature": 1.0, "top_p": 1.0, "seed": 0} | change
    with pytest.raises(ValueError, match=said):
        sample(llama, given.pop("prompts"), (), **given)
