"""The policy before any reward, which is the zero-shot row: a small or a pretrained one, warmed up by lessons."""

import json
from pathlib import Path

from datasets import Dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from r4t_utils.data.language import Language
from r4t_utils.machine.checks import read, require_same
from r4t_utils.machine.device import release
from r4t_utils.machine.progress import quiet
from r4t_utils.policy import form, vocabulary
from r4t_utils.policy.folm import Folm, merged
from r4t_utils.policy.small import small_policy
from r4t_utils.policy.trainer import Watch, checkpointed, digest, keep, moved, train_on, trainer_defaults
from r4t_utils.settings import FolmSettings
from r4t_utils.space.encoder import known_words

LINES = 30  # that a pretrained policy writes for a query, of which the first k different ones are a lesson


def zero_shot_policy(
    queries: dict[str, list[str]],
    settings: FolmSettings,
    seed: int,
    folder: Path,
    language: Language,
    checkpoints: Path | None = None,
) -> str:
    """The untuned policy: where ``Folm.load`` finds it. One that is warmed up here is saved in ``folder``; meanwhile
    `checkpoints`, if given, holds what a process that follows a killed one goes on from.

    Other arguments as in ``small_policy``. Raises ValueError where a pretrained policy writes too little for a lesson.
    """
    if not settings.warmed_up:
        return settings.policy
    if settings.policy == "small":
        policy, lessons = small_policy(queries, settings, seed, language)
    else:
        policy = Folm.load(settings.policy, settings)
        if size := settings.vocab_size:
            said = [*form.exchanged(policy, queries), *(text for word in known_words() for text in _forms(word))]
            policy = Folm(*vocabulary.cut(merged(policy.model), policy.tokenizer, size, said), settings)
        rows = _lessons(policy, queries, settings, seed, checkpoints and checkpoints / "lessons.json")
        policy, lessons = policy.trainable(), {"form": Dataset.from_list(rows)}
    for name, lesson in lessons.items():
        warm_up(policy, lesson, settings, seed, checkpoints and checkpoints / name, f"warm-up: {name}")
    policy.save(folder)
    release()
    return str(folder)


def _forms(word: str) -> list[str]:
    """A word as a text can begin with it and go on with it."""
    return [start + form for start in ("", " ") for form in (word, word.capitalize())]


def _lessons(
    policy: Folm, queries: dict[str, list[str]], settings: FolmSettings, seed: int, kept: Path | None
) -> list[dict[str, str]]:
    """The lessons in form that a pretrained policy writes itself and that fit its length, from `kept` where they were
    written before. Raises ValueError where there are none, or `kept` has those of other settings or queries."""
    now = settings.model_dump(mode="json") | {"seed": seed, "queries": digest(queries)}
    if kept and kept.is_file():
        saved = read(kept, lambda path: json.loads(path.read_bytes()))
        require_same(kept, saved["settings"], now, "name another folder, or remove it to begin anew")
        return saved["lessons"]
    written = list(form.lessons(policy, queries, settings.warmup_fanouts, LINES, seed))
    rows = [row for row in written if _fits(policy, row, settings)]
    if not rows:
        why = f"answered none of {settings.warmup_fanouts} queries with {settings.k} different sub-queries"
        why = f"wrote {len(written)} lessons, none shorter than {_longest(settings)} tokens" if written else why
        remedy = "raise folm.max_prompt_tokens or max_new_tokens" if written else "name another policy, or lower folm.k"
        raise ValueError(f"folm.policy={settings.policy} {why}; {remedy}")
    if left := len(written) - len(rows):
        print(f"{left} of {len(written)} lessons are left out: {_longest(settings)} tokens or longer")
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        keep(kept, {"settings": now, "lessons": rows})
    return rows


def _fits(policy: Folm, row: dict[str, str], settings: FolmSettings) -> bool:
    """Whether a lesson can be learnt to its end: one that is cut teaches answers without one."""
    tokens = policy.tokenizer(row["prompt"] + row["completion"], add_special_tokens=False)["input_ids"]
    return len(tokens) < _longest(settings)  # the end is a token more


def _longest(settings: FolmSettings) -> int:
    """The most tokens that a lesson may have with its end."""
    return settings.max_prompt_tokens + settings.max_new_tokens


def warm_up(
    policy: Folm,
    data: Dataset,
    settings: FolmSettings,
    seed: int,
    checkpoints: Path | None = None,
    label: str = "warm-up",
) -> list[dict]:
    """Supervised fine-tuning on one lesson, with columns prompt and completion, of which the second is learnt.

    Returns logged losses. Raises ValueError where the policy has nothing to train, or no weight moved."""
    s = settings
    steps = s.warmup_epochs * -(-len(data) // s.warmup_batch)
    with quiet(), checkpointed(checkpoints, steps) as kept:
        schedule = {"num_train_epochs": s.warmup_epochs, "lr_scheduler_type": "cosine", "warmup_steps": 0.05}
        adam = {"learning_rate": s.warmup_lr, "adam_beta2": 0.98, "per_device_train_batch_size": s.warmup_batch}
        lesson = {"completion_only_loss": True, "max_length": _longest(s)}
        options = trainer_defaults(seed, policy.half) | kept | schedule | adam | lesson
        config = SFTConfig(logging_steps=10, **options)
        trainer = SFTTrainer(policy.model, args=config, train_dataset=data, processing_class=policy.tokenizer)
        watch = Watch(trainer, label)
        with moved(policy.model, "the lessons taught nothing; raise folm.warmup_lr or folm.warmup_fanouts"):
            train_on(trainer, {"logged": watch.rows})
    return watch.rows
