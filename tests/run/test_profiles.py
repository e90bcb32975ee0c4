import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from r4t_utils.run import paths, profiles
from r4t_utils.settings import SECTIONS, SettingsError


@pytest.mark.parametrize("name", ["smoke", "cpu", "lm", "gpu", "paper"])
def test_each_profile_loads_and_comments_every_setting(name):
    settings = profiles.load(name)
    assert list(settings.model_dump()) == list(SECTIONS)
    notes = profiles.notes(name)
    assert list(notes) == [f"{section}.{key}" for section, found in settings.model_dump().items() for key in found]
    assert all(notes.values())


def test_a_note_is_what_the_file_says_beside_the_setting():
    assert profiles.notes("paper")["rl.clip"] == "epsilon of Eq. 8"


def test_paper_profile_is_table_3():
    s = profiles.load("paper")
    rl, diffusion = s.rl, s.diffusion
    assert (rl.learning_rate, rl.group, rl.clip, rl.beta1, rl.beta2) == (1e-7, 8, 0.2, 0.05, 0.05)
    assert (rl.prompts_per_step * rl.group, rl.micro_batch) == (512, 64)
    assert s.folm.max_prompt_tokens + s.folm.max_new_tokens == 1024
    assert (rl.lambda_g, rl.lambda_d, rl.lambda_a, s.folm.k) == (0.6, 0.2, 0.2, 10)
    assert (s.synthesis.slots, s.synthesis.fanouts_per_query, s.synthesis.temperature) == (12, 128, 0.9)
    assert (diffusion.hidden, diffusion.mlp, diffusion.heads, diffusion.layers) == (1024, 1024, 16, 6)
    assert (diffusion.dropout, diffusion.attention_dropout) == (0.1, 0.1)
    assert (diffusion.peak_lr, diffusion.warmup_steps, diffusion.steps) == (3e-4, 20_000, 10_000_000)
    assert (diffusion.batch_size, diffusion.ema, diffusion.sampling_steps) == (512, 0.9999, 256)
    assert (diffusion.sigma_min, diffusion.sigma_max, diffusion.sigma_data) == (1e-4, 80, 0.088)
    assert (diffusion.condition_drop, diffusion.guidance, diffusion.sampler) == (0.1, 0.1, "sde")
    assert s.encoder.d == 128
    assert math.isclose(s.rl.pool_fraction * 142_472, 5000, rel_tol=1e-3)


def test_overrides_replace_values_of_every_kind():
    s = profiles.load("cpu", 'rl.learning_rate=1e-6 rl.steps=7  latency.batch_sizes=[1,3] folm.policy="my model"')
    assert (s.rl.learning_rate, s.rl.steps, s.latency.batch_sizes) == (1e-6, 7, (1, 3))
    assert s.folm.policy == "my model"
    same = {"learning_rate": 2e-4, "steps": 60}
    assert s.rl.model_copy(update=same) == profiles.load("cpu").rl.model_copy(update=same)


@pytest.mark.parametrize(
    "overrides, words",
    [
        ("rl.stepz=1", ["stepz", "steps"]),
        ("rll.steps=1", ["rll", "encoder"]),
        ("rl.steps", ["section.name=value"]),
        ("rl.steps=", ["section.name=value"]),
        ("steps=3", ["section.name=value"]),
        ("rl.steps = 3", ["section.name=value"]),
        ("rl.steps=1.5", ["rl.steps=1.5", "whole number"]),
        ("rl.steps=true", ["whole number"]),
        ("rl.steps=0", ["rl.steps=0", "at least 1"]),
        ("rl.learning_rate=0", ["above 0"]),
        ("rl.learning_rate=nan", ["finite"]),
        ("rl.learning_rate=fast", ["'fast'", "number"]),
        ("rl.diversity=most", ["'most'", "vendi_over_k"]),
        ("rl.steps=2 rl.steps=3", ["twice"]),
        ('folm.policy="x', ["quote"]),
        ("latency.batch_sizes=[]", ["list"]),
        ("latency.batch_sizes=8", ["list"]),
        ("latency.batch_sizes=[1,two]", ["whole number"]),
        ("latency.batch_sizes=[4,2]", ["increase"]),
        ("latency.batch_sizes=[1", ["list"]),
        ("encoder.d=64", ["encoder.prefixes", "encoder.d=64"]),
        ("diffusion.heads=7", ["diffusion.hidden", "multiple"]),
        ("diffusion.sigma_min=90", ["sigma_max"]),
        ("diffusion.sigma_min=8", ["diffusion.sigma_min=8", "sigma_max * sigma_data = 80.0 * 0.088 = 7.04"]),
        ("diffusion.sigma_max=0.9", ["diffusion.sigma_max=0.9", "at least 1"]),
        ("folm.heads=1", ["folm.heads=1", "multiple", "of 2, the key-value heads of policy=small"]),
        ("folm.hidden=36", ["folm.hidden=36", "multiple of 2 * folm.heads = 8"]),  # nine coordinates a head
        ("folm.k=11", ["folm.k=11", "synthesis.slots=10"]),
        ("synthesis.slots=9", ["folm.k=10", "synthesis.slots=9"]),
        ("encoder.d=512 encoder.prefixes=[512]", ["encoder.d=512", "at most 384"]),
        ("latency.batch_sizes=[65,128]", ["latency.batch_sizes=[65, 128]", "64 or less"]),
        ("rl.lambda_g=0 rl.lambda_d=0 rl.lambda_a=0", ["all be 0"]),
        ("folm.vocab_size=73", ["folm.vocab_size=73", "must be 74 or more", "folm.k=10"]),
        ("folm.k=1 rl.credit=sub_query", ["rl.credit=sub_query", "folm.k of 2 or more"]),
        ("evaluation.bootstrap=499", ["evaluation.bootstrap=499", "at least 500"]),
    ],
)
def test_a_bad_override_names_value_and_rule(overrides, words):
    with pytest.raises(SettingsError) as error:
        profiles.load("cpu", overrides)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_values_at_the_edge_of_their_rule_load():
    profiles.load("cpu", "folm.k=10 synthesis.slots=10 latency.batch_sizes=[64] encoder.d=384 encoder.prefixes=[384]")
    profiles.load("cpu", "diffusion.sigma_max=1")
    profiles.load("gpu", "folm.heads=3 folm.vocab_size=0")  # the small policy's


def test_unknown_profile_lists_the_known_ones():
    with pytest.raises(SettingsError, match="'big'.*smoke, cpu, lm, gpu, paper"):
        profiles.load("big")


@pytest.mark.parametrize(
    "edit, message",
    [
        (
            lambda text: text.replace("\n  steps: ", "\n  stepz: ", 1),
            "rl.steps is missing; rl.stepz is not known; the names are steps, group",
        ),
        (
            lambda text: text.replace("latency:", "late:"),
            "latency is missing; late is not known; the names are corpus, encoder",
        ),
        (lambda text: text[:2000] + "\n  :-{", "cannot be read"),
        (lambda text: "[]", "not a mapping"),
        (lambda text: text.split("\nencoder:")[0] + "\nencoder: 3\n", "restore|missing"),
    ],
)
def test_a_damaged_profile_file_is_an_error(edit, message, tmp_path, monkeypatch):
    text = (paths.profiles() / "cpu.yaml").read_text()
    assert edit(text) != text
    (tmp_path / "cpu.yaml").write_text(edit(text))
    monkeypatch.setattr(paths, "profiles", lambda: tmp_path)
    with pytest.raises(SettingsError, match=message):
        profiles.load("cpu")


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        profiles.load("cpu").rl.steps = 3


@given(st.text(max_size=40))
def test_any_text_as_overrides_loads_or_raises_a_settings_error(text):
    try:
        profiles.load("smoke", text)
    except SettingsError as error:
        assert str(error)


@given(st.integers(1, 10_000), st.floats(1e-8, 1.0))
def test_a_value_written_as_an_override_comes_back(steps, rate):
    s = profiles.load("smoke", f"rl.steps={steps} rl.learning_rate={rate!r}")
    assert (s.rl.steps, s.rl.learning_rate) == (steps, rate)
