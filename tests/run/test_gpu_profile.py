"""Profile gpu through all six notebooks, on the CPU: a chat model of another family, LoRA, the paper's reward."""

import json

import pytest
import yaml
from datasets import Dataset
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, Qwen3Config, Qwen3ForCausalLM

from r4t_utils.data.language import fashion
from r4t_utils.policy import form
from r4t_utils.policy.folm import Folm
from r4t_utils.policy.prompts import parse
from r4t_utils.policy.small import small_policy
from r4t_utils.policy.zero_shot import warm_up
from r4t_utils.run import paths, pipeline, profiles
from r4t_utils.run.run import Run
from r4t_utils.run.stage import STAGES

CHAT = (
    "{% set asked = messages[-1]['content'] %}{{ '<items> ' if 'per line' in asked else '<request> ' }}"
    "{{ asked.split('Request: ')[-1] }}"
    "{% if add_generation_prompt %}{{ ' <answer>' }}{% endif %}"
)
WIDTH = {"hidden_size": 96, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDTH |= {"num_key_value_heads": 1, "head_dim": 48, "max_position_embeddings": 128, "tie_word_embeddings": True}
FAMILIES = {
    "Qwen3": (Qwen3ForCausalLM, Qwen3Config, {}),
    "Gemma3": (Gemma3ForCausalLM, Gemma3TextConfig, {"sliding_window": 16, "query_pre_attn_scalar": 48}),
}


def tiny() -> dict[str, object]:
    """What makes profile gpu as small as smoke; its policy, its reward and its trainer stay its own."""
    smoke = yaml.safe_load((paths.ROOT / "notebooks/profiles/smoke.yaml").read_text())
    sections = "corpus", "encoder", "synthesis", "diffusion", "evaluation", "latency"
    changed = {f"{section}.{name}": value for section in sections for name, value in smoke[section].items()}
    changed |= {"folm.k": 3, "folm.max_prompt_tokens": 48, "folm.max_new_tokens": 40, "folm.lora_rank": 4}
    return changed | {"rl.steps": 2, "rl.group": 4, "rl.prompts_per_step": 2, "latency.batch_sizes": [1, 4]}


def policy(family: str, folder) -> None:
    """Saves a tiny, randomly initialised chat model that was taught to answer in form, as an instruction-tuned one, and
    in lines where it is asked for them."""
    size = "folm.hidden=96 folm.heads=2 folm.layers=2 folm.warmup_fanouts=1600 folm.warmup_copies=0"
    settings = profiles.load("smoke", size).folm
    queries = {task: ["boho beach look", "cosy winter vibes"] for task in ("oar", "wscr")}
    llama, lessons = small_policy(queries, settings, 0, fashion())
    model, config, more = FAMILIES[family]
    ids = {"eos_token_id": llama.tokenizer.eos_token_id, "pad_token_id": llama.tokenizer.pad_token_id}
    made = model(config(vocab_size=len(llama.tokenizer), bos_token_id=None, **WIDTH, **more, **ids))
    llama.tokenizer.chat_template = CHAT
    taught = Folm(made, llama.tokenizer, settings)
    rows = [
        {"prompt": taught.prompt("oar", row["prompt"].split("> ", 1)[1]), "completion": row["completion"]}
        for row in lessons["fan-outs"]
    ]
    own = [form._conversation(taught, "oar", query) for query in queries["oar"]]
    words = [sub for row in rows[:200] for sub in parse(row["completion"], settings.k).queries or ()]
    rows += [{"prompt": own[i % len(own)], "completion": sub} for i, sub in enumerate(words)]
    warm_up(taught, Dataset.from_list(rows), settings, 0)
    taught.save(folder)


def started(profile: str, changed: dict[str, object]) -> Run:
    """A run of the profile with these settings."""
    values = {name: json.dumps(v) if isinstance(v, list) else str(v) for name, v in changed.items()}
    return Run.checked(profile, overrides=" ".join(f"{name}={v}".replace(", ", ",") for name, v in values.items()))


@pytest.mark.training
def test_a_chat_model_goes_through_all_six_notebooks(folders, monkeypatch):
    monkeypatch.delenv("R4T_NOTEBOOKS")  # the real ones
    for family in FAMILIES:
        policy(family, folders / family)
        run = started("gpu", tiny() | {"folm.policy": folders / family})
        assert pipeline.reproduce(run, list(STAGES)) == 0
        facts = json.loads((run.results / "manifest.json").read_text())["stages"]
        assert list(facts) == list(STAGES)
        tuned = Folm.load(run.folder("02_rl_fanout") / "oar", run.settings.folm)
        assert not tuned.model.config.model_type.startswith("llama")


@pytest.mark.training
def test_profile_lm_teaches_form_in_the_models_own_words_and_goes_through_all_six_notebooks(folders, monkeypatch):
    monkeypatch.delenv("R4T_NOTEBOOKS")
    policy("Qwen3", folders / "Qwen3")
    lessons = {"folm.policy": folders / "Qwen3", "folm.warmup_fanouts": 16, "folm.warmup_batch": 2}
    run = started("lm", tiny() | lessons | {"folm.vocab_size": 300})
    assert pipeline.reproduce(run, list(STAGES)) == 0
    assert run.settings.folm.lora_rank
    whole = Folm.load(folders / "Qwen3", run.settings.folm)
    taught = Folm.load(run.folder("02_rl_fanout") / "zero_shot", run.settings.folm)
    assert len(taught.tokenizer) < len(whole.tokenizer)
