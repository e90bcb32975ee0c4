import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
import toys
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from r4t_utils.data.language import fashion
from r4t_utils.policy import folm, sampling, small, zero_shot
from r4t_utils.policy.folm import Folm
from r4t_utils.policy.prompts import CLOSE, NEXT, TASK_TOKEN, Fanout, frame, number, parse

# The small policy's tokenizer


@pytest.fixture(scope="module")
def policy():
    return tiny.policy()


def ids(policy, text):
    return policy.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_one_token_for_each_piece_of_the_frame(policy):
    for piece in (*(number(i) for i in range(tiny.K)), NEXT, CLOSE, *TASK_TOKEN.values()):
        assert len(ids(policy, piece)) == 1
    encoded = ids(policy, frame(["hat"] * tiny.K))
    alone = ids(policy, "hat")
    assert len(encoded) == tiny.K * (1 + len(alone)) + (tiny.K - 1) + 1


def test_tokenizer_round_trip(policy):
    words = sorted({w for task in tiny.QUERIES.values() for query in task for w in query.split()})
    queries = [" ".join(words[:3]), " ".join(words[3:9]), "t-shirt & 90's zigzag"]  # the last was never seen
    text = frame(queries)
    assert policy.tokenizer.unk_token_id not in ids(policy, text)
    assert parse(policy.tokenizer.decode(ids(policy, text)), tiny.K) == Fanout(queries, "")


@settings(deadline=None)
@given(st.lists(tiny.sub_queries(), min_size=tiny.K, max_size=tiny.K))
def test_tokenizer_round_trip_of_any_clean_query(policy, queries):
    assert parse(policy.tokenizer.decode(ids(policy, frame(queries))), tiny.K) == Fanout(queries, "")


def test_vocabulary_is_within_the_setting(policy):
    assert len(policy.tokenizer) <= policy.settings.vocab_size
    assert policy.model.config.vocab_size == len(policy.tokenizer)
    assert policy.tokenizer.pad_token_id != policy.tokenizer.eos_token_id


def test_warm_up_data_is_well_formed_and_covers_both_tasks():
    _, lessons = small.small_policy(tiny.QUERIES, tiny.settings().folm, 0, fashion())
    data = lessons["fan-outs"]
    assert len(data) == 40 and set(data.column_names) == {"prompt", "completion"}
    assert {prompt.split()[0] for prompt in data["prompt"]} == set(TASK_TOKEN.values())
    assert all(parse(text, tiny.K).fault == "" for text in data["completion"])


def test_copying_lesson_ends_a_completion_with_the_topic_words_twice():
    _, lessons = small.small_policy(tiny.QUERIES, tiny.settings().folm, 0, fashion())
    assert list(lessons) == ["copying", "fan-outs"] and len(lessons["copying"]) == 20
    for prompt, completion in zip(lessons["copying"]["prompt"], lessons["copying"]["completion"]):
        query = prompt.split()[1:]
        words = " ".join([w for w in query if w not in ("look", "style", "vibes", "outfit", "with")] or query)
        assert completion == f'"2": "{words}", "3": "{words}"}}</queries>'
    _, without = small.small_policy(tiny.QUERIES, tiny.settings("folm.warmup_copies=0").folm, 0, fashion())
    assert list(without) == ["fan-outs"]


def test_small_policy_follows_its_seed(policy):
    same, other = tiny.policy(), tiny.policy(seed=1)
    weights = [p.model.model.layers[0].mlp.up_proj.weight for p in (policy, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


# Sampling


def test_complete_follows_its_seed_alone(policy):
    prompts = [policy.prompt("oar", query) for query in tiny.QUERIES["oar"]]
    torch.manual_seed(1)
    first = policy.complete(prompts, 1.0, seed=7)
    torch.manual_seed(2)
    assert policy.complete(prompts, 1.0, seed=7) == first
    assert policy.complete(prompts, 1.0, seed=8) != first


def test_complete_leaves_the_global_generator_alone(policy):
    state = torch.random.get_rng_state()
    policy.complete([policy.prompt("oar", "boho beach look")], 1.0, seed=7)
    assert torch.equal(state, torch.random.get_rng_state())


def test_answers_follow_the_prompts(policy, monkeypatch):
    seen = []
    echo = lambda model, rows, *_, **__: seen.append(rows) or rows  # noqa: E731
    monkeypatch.setattr(sampling, "sample", echo)
    prompts = [policy.prompt("oar", query) for query in ("red party", "red", "boho beach look", "red", "bold")]
    assert policy.complete(prompts, 1.0, seed=0, batch_size=2) == [
        policy.tokenizer.decode(ids(policy, p)) for p in prompts
    ]
    assert [len(batch) for batch in seen] == [2, 2, 1]


def test_low_temperature_is_greedy_and_padding_does_not_matter(policy):
    """Nearly greedy samples of a batch equal each prompt's own arg max, token by token."""
    prompts = [policy.prompt("oar", q) for q in ("boho", "cosy winter vibes for the city", "bold party")]
    for prompt, text in zip(prompts, policy.complete(prompts, 1e-4, seed=0), strict=True):
        row = torch.tensor([ids(policy, prompt)])
        start = row.shape[1]
        for _ in range(policy.settings.max_new_tokens):
            row = torch.cat([row, policy.model(row).logits[:, -1].argmax(-1, keepdim=True)], 1)
            if row[0, -1] == policy.tokenizer.eos_token_id:
                row = row[:, :-1]
                break
        assert text == policy.tokenizer.decode(row[0, start:])


def test_a_small_nucleus_is_greedy_at_any_temperature(policy):
    narrow = tiny.policy("folm.top_p=1e-6")
    prompts = [policy.prompt("oar", query) for query in tiny.QUERIES["oar"]]
    assert narrow.complete(prompts, 2.0, seed=7) == policy.complete(prompts, 1e-4, seed=0)


def test_an_answer_ends_before_its_end_token(policy, monkeypatch):
    tail = ids(policy, frame(["hat", "boots", "bag"]))
    rows = [[*tail, policy.tokenizer.eos_token_id], ids(policy, "red")]
    monkeypatch.setattr(sampling, "sample", lambda *_, **__: rows)
    first, second = policy.complete(["<outfits> b", "<outfits> boho"], 1.0, seed=0)
    assert parse(first, 3) == Fanout(["hat", "boots", "bag"], "") and second.strip() == "red"


def test_fan_out_groups_n_answers_a_query(policy, monkeypatch):
    answers = iter(frame([f"{letter} one", "two", "three"]) for letter in "abcdef")
    monkeypatch.setattr(Folm, "complete", lambda self, prompts, *_: [next(answers) for _ in prompts])
    out = policy.fan_out("wscr", ["x", "y"], n=3, seed=0)
    firsts = [[fanout.queries[0] for fanout in row] for row in out]
    assert firsts == [["a one", "b one", "c one"], ["d one", "e one", "f one"]]


def test_fan_out_uses_the_settings_temperature_unless_told(policy, monkeypatch):
    seen = []
    monkeypatch.setattr(Folm, "complete", lambda self, prompts, temperature, *_: seen.append(temperature) or [""])
    policy.fan_out("oar", ["x"], seed=0)
    policy.fan_out("oar", ["x"], temperature=0.3, seed=0)
    assert seen == [policy.settings.temperature, 0.3]


# Prompts, saving


@pytest.mark.training
def test_asking_a_policy_needs_no_library_of_the_notebooks():
    code = """import sys
sys.modules |= dict.fromkeys(["peft", "datasets", "trl"])
import r4t_utils.policy.synthesis
assert 'r4t_utils.policy.folm' in sys.modules"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_lora_opens_an_adapter_alone():
    policy = tiny.policy("folm.lora_rank=2").trainable()
    names = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    assert names and all("lora_" in name for name in names)
    plain = tiny.policy()
    assert plain.trainable() is plain


def test_prompt_of_the_small_policy(policy):
    assert policy.prompt("oar", "boho") == "<outfits> boho" and policy.prompt("wscr", "boho") == "<items> boho"
    with pytest.raises(KeyError):
        policy.prompt("music", "boho")


@pytest.mark.parametrize("task, words", [("oar", "one to three"), ("wscr", "one set")])
def test_prompt_of_a_pretrained_policy_goes_through_its_chat_template(task, words):
    class Chat:
        chat_template = "{{ messages }}"

        def apply_chat_template(self, messages, **options):
            self.messages, self.options = messages, options
            return "templated"

    chat = Chat()
    policy = Folm(SimpleNamespace(), chat, SimpleNamespace(k=7, warmup_fanouts=0))
    assert policy.prompt(task, 'odd {query} "quote"') == "templated"
    (message,) = chat.messages
    assert message["role"] == "user"
    assert chat.options == {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
    assert message["content"].endswith('Request: odd {query} "quote"')
    assert all(
        part in message["content"] for part in ("7 search queries", words, "<think></think>", "<queries>", "JSON")
    )


def test_saved_and_loaded_policies_are_equal(policy, tmp_path):
    policy.save(tmp_path)
    loaded = Folm.load(tmp_path, policy.settings)
    text = policy.prompt("oar", "boho beach look") + frame(["red hat", "boots", "city bag"])
    assert ids(loaded, text) == ids(policy, text) and len(loaded.tokenizer) == len(policy.tokenizer)
    with torch.no_grad():
        logits = [p.model.eval()(torch.tensor([ids(policy, text)])).logits for p in (policy, loaded)]
    assert torch.equal(*logits)
    prompts = [policy.prompt("wscr", "boho"), policy.prompt("oar", "bold city look")]
    assert loaded.complete(prompts, 1.0, seed=3) == policy.complete(prompts, 1.0, seed=3)
    assert not list(tmp_path.glob("*.bin")) and not list(tmp_path.glob("*.pkl"))


def test_a_saved_policy_does_not_depend_on_the_network(policy, tmp_path, monkeypatch):
    """What HF_HUB_OFFLINE says at loading is kept by the tokenizer, and must not be written with it."""
    policy.save(tmp_path / "first")
    saved = {}
    for offline in (False, True):
        monkeypatch.setattr("transformers.tokenization_utils_base.is_offline_mode", lambda offline=offline: offline)
        loaded = Folm.load(tmp_path / "first", policy.settings)
        if "local_files_only" in loaded.tokenizer.init_kwargs or Version(transformers.__version__) >= Version("5.23"):
            assert loaded.tokenizer.init_kwargs["local_files_only"] == offline  # transformers 5.0 keeps no such thing
        loaded.save(tmp_path / str(offline))
        saved[offline] = toys.contents(tmp_path / str(offline))
    names = [{Path(name).name: content for name, content in files.items()} for files in saved.values()]
    assert names[0] == names[1] and {"config.json", "tokenizer_config.json", "model.safetensors"} <= names[0].keys()


@pytest.mark.parametrize("error", [OSError, ValueError, ImportError])  # which one depends on transformers' version
def test_a_policy_that_cannot_be_found_is_named_with_the_remedy(tmp_path, monkeypatch, error):
    def unreachable(*_, **__):
        raise error("We couldn't\nconnect")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", unreachable)
    settings = tiny.settings("folm.policy=some/model").folm
    with pytest.raises(ValueError, match="'some/model'.*couldn't connect.*policy='some/model'.*small.*folder.*hub"):
        Folm.load(settings.policy, settings)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="folm.policy"):
        Folm.load(tmp_path, settings)  # an empty folder


def test_a_policy_whose_answers_would_never_end_is_refused(policy, tmp_path):
    policy.save(tmp_path)
    for name in ("tokenizer_config.json", "generation_config.json", "config.json"):
        told = json.loads((tmp_path / name).read_text())
        (tmp_path / name).write_text(json.dumps({key: told[key] for key in told if not key.startswith("eos")}))
    with pytest.raises(ValueError, match="is no policy.*end token.*eos_token"):
        Folm.load(tmp_path, policy.settings)


def test_a_first_line_ends_where_its_line_does(monkeypatch):
    """Of what the policy would write, up to the first token with the end of a line, and LINE tokens at most."""
    policy = tiny.policy()
    prompts = [policy.prompt("oar", query) for query in tiny.QUERIES["oar"]] * 8
    breaks = list(range(20, 40))  # as if each of these tokens held the end of a line
    monkeypatch.setattr(policy, "_line_ends", lambda: breaks)
    rows, sample = [], folm.sampling.sample
    monkeypatch.setattr(folm.sampling, "sample", lambda *a, **k: [rows.append(row) or row for row in sample(*a, **k)])
    lines = policy.complete(prompts, 1.0, 3, first_line=True)
    assert max(map(len, rows)) <= folm.LINE and any(set(row) & set(breaks) for row in rows)
    assert not any(set(row[:-1]) & set(breaks) for row in rows)  # nothing is written behind the end of a line
    ends = {*breaks, *policy.ends()}
    assert sorted(lines) == sorted(policy.tokenizer.decode([t for t in row if t not in ends]) for row in rows)


@pytest.mark.parametrize(
    "why, remedy",
    [
        ("You are trying to access a gated repo. 401 Client Error", "accept its licence there, and set HF_TOKEN"),
        ("We couldn't connect to the hub", "network access or a copy in the hub's cache"),
    ],
)
def test_a_model_that_the_hub_does_not_give_is_named_with_the_remedy(monkeypatch, why, remedy):
    def refuse(*_, **__):
        raise OSError(why)

    monkeypatch.setattr(folm.AutoTokenizer, "from_pretrained", refuse)
    with pytest.raises(ValueError, match=f"no policy can be loaded from 'google/gemma'.*{remedy}"):
        Folm.load("google/gemma", tiny.settings("folm.policy=google/gemma").folm)


@pytest.mark.parametrize(
    "rank, gpu, dtype", [(0, True, torch.float32), (4, True, torch.bfloat16), (4, False, torch.float32)]
)
def test_only_frozen_weights_are_loaded_in_16_bits(policy, tmp_path, monkeypatch, rank, gpu, dtype):
    monkeypatch.setattr(folm, "bf16", lambda: gpu)
    policy.save(tmp_path)
    assert Folm.load(tmp_path, tiny.settings(f"folm.lora_rank={rank}").folm).model.dtype == dtype


@pytest.mark.training
def test_warm_up_lowers_the_loss_on_completions_and_moves_the_weights(tmp_path):
    s = tiny.settings("folm.warmup_batch=20").folm
    policy, lessons = small.small_policy(tiny.QUERIES, s, 0, fashion())
    data = lessons["fan-outs"]
    before = policy.model.get_input_embeddings().weight.detach().clone()

    def loss():
        total = 0.0
        for row in data.select(range(8)):
            prompt, answer = ids(policy, row["prompt"]), ids(policy, row["completion"])
            tokens = torch.tensor([[*prompt, *answer]])
            labels = torch.tensor([[*[-100] * len(prompt), *answer]])
            total += policy.model(tokens, labels=labels).loss.item()
        return total / 8

    with torch.no_grad():
        first = loss()
    assert isinstance(zero_shot.warm_up(policy, data, s, seed=0), list)
    policy.model.eval()
    with torch.no_grad():
        assert loss() < first
    assert not torch.equal(before, policy.model.get_input_embeddings().weight)


@pytest.mark.training
def test_a_warm_up_that_can_move_nothing_is_an_error():
    policy, lessons = small.small_policy(tiny.QUERIES, tiny.settings().folm, 0, fashion())
    still = policy.settings.model_copy(update={"warmup_lr": 0.0})
    with pytest.raises(ValueError, match="moved no weight: the lessons taught nothing; raise folm.warmup_lr or"):
        zero_shot.warm_up(policy, lessons["fan-outs"], still, seed=0)
    policy.model.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        zero_shot.warm_up(policy, lessons["fan-outs"], policy.settings, seed=0)


@pytest.mark.parametrize(
    "query, message", [("", "is empty"), (" \u200b", "is empty"), (None, "is no text"), ("x" * 3000, "at most 2000")]
)
def test_a_query_that_asks_for_nothing_is_refused_before_anything_is_written(policy, query, message):
    with pytest.raises(ValueError, match=f"the query .*{message}"):
        policy.fan_out("oar", ["boho", query], seed=0)
