"""What the trainers of transformers and TRL have in common here: settings, one progress bar, and going on after a
process was killed."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.nn import Module
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from r4t_utils.machine import progress
from r4t_utils.machine.checks import require_same
from r4t_utils.machine.device import device

CHECKPOINTS = 8  # of a training, about
TOLD, COUNTS, SETTINGS = "told.json", "counts", "settings"
DECIDING = ("seed", "max_steps", "num_train_epochs", "learning_rate", "lr_scheduler_type", "warmup_steps", "bf16")
DECIDING += ("per_device_train_batch_size", "gradient_accumulation_steps", "num_generations", "steps_per_generation")
DECIDING += ("num_iterations", "epsilon", "beta", "temperature", "top_p", "max_completion_length", "max_length")


def trainer_defaults(seed: int, half: bool) -> dict:
    """Arguments shared by every trainer: no reports, and no checkpoints unless ``saved_in``; bfloat16 if `half`."""
    silent = {"save_strategy": "no", "report_to": "none", "disable_tqdm": True}
    hardware = {"use_cpu": device() == "cpu", "bf16": half, "dataloader_pin_memory": False}
    return {"seed": seed, "gradient_checkpointing": False, **silent, **hardware}


class Watch(TrainerCallback):
    """Keeps every logged row and shows the run in one bar; replaces the trainer's own printing."""

    def __init__(self, trainer: Trainer, label: str, shown: str = "loss"):
        self.rows: list[dict] = []
        self.label, self.shown = label, shown
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        trainer.add_callback(self)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        self.bar = progress.Bar(state.max_steps, self.label)
        self.bar.update(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        last = self.rows[-1] if self.rows else {}
        self.bar.update(1, **{key: last[key] for key in (self.shown,) if key in last})

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict | None = None, **kwargs
    ) -> None:
        self.rows.append({"step": state.global_step, **(logs or {})})

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        self.bar.close()


class Look(TrainerCallback):
    """Calls ``look(step)`` after every `every` updates, and after the last."""

    def __init__(self, look: Callable[[int], None], every: int):
        self.look, self.every = look, every

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self.look(state.global_step)


@contextmanager
def moved(model: Module, why: str) -> Iterator[None]:
    """Raises ValueError where the model has nothing to train, and where the block leaves every weight as it was, with
    `why`."""
    before = {p: p.detach().clone() for p in model.parameters() if p.requires_grad}
    if not before:
        raise ValueError("the policy has no trainable parameter; load a LoRA adapter with is_trainable=True")
    yield
    if all(torch.equal(p, start) for p, start in before.items()):
        raise ValueError(f"training moved no weight: {why}")


@contextmanager
def checkpointed(folder: Path | None, steps: int, whole: int = 1) -> Iterator[dict]:
    """Arguments of a trainer that leaves checkpoints of its `steps` updates in `folder`, each after a multiple of
    `whole`: a sampled batch that serves several updates is in no checkpoint. None leaves none."""
    if folder:
        every = whole * max(1, round(steps / whole / CHECKPOINTS))
        yield {"output_dir": str(folder), "save_strategy": "steps", "save_steps": every, "save_total_limit": 2}
    else:
        with TemporaryDirectory() as scratch:
            yield {"output_dir": scratch}


def digest(value: object) -> str:
    """A short hash of what JSON can hold."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def keep(path: Path, value: object) -> None:
    """Writes a value as JSON, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value), encoding="utf-8")
    partial.replace(path)


def _deciding(trainer: Trainer, given: Mapping[str, object]) -> dict[str, object]:
    """What the weights of a training depend on: settings by their own names, the trainer's for the rest, and hashes of
    its data and of which weights it trains. As JSON gives it back."""
    told = {name.rpartition(".")[2] for name in given}
    args = {name: getattr(trainer.args, name) for name in DECIDING if hasattr(trainer.args, name) and name not in told}
    model: Any = trainer.model
    data: Any = trainer.train_dataset
    trained = [(name, *p.shape) for name, p in model.named_parameters() if p.requires_grad]
    hashed = {"data": data.to_dict(), "trained weights": trained}
    digests = {name: digest(what) for name, what in hashed.items()}
    return json.loads(json.dumps({**args, **given, **digests}, default=str))


class Told(TrainerCallback):
    """Completes a checkpoint by the rows that were told up to it, and the counts; one without them was cut off in the
    writing. The one of the last update is left without: transformers would train on from it."""

    def __init__(self, rows: Mapping[str, list], counts: dict[str, float], settings: Mapping[str, object]):
        self.rows, self.counts, self.settings = rows, counts, settings

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        if state.global_step < state.max_steps:
            told = Path(args.output_dir or "", f"checkpoint-{state.global_step}", TOLD)
            keep(told, {**self.rows, COUNTS: self.counts, SETTINGS: self.settings})


def train_on(
    trainer: Trainer,
    rows: Mapping[str, list],
    counts: dict[str, float] | None = None,
    given: Mapping[str, object] | None = None,
) -> None:
    """Trains, from the last whole checkpoint in the trainer's folder where there is one, to the weights and `rows` of a
    training that was never cut off. `rows`: lists that the training fills; `counts`: numbers that it adds to;
    `given`: settings that decide the weights, by their own names. Without checkpoints it just trains.
    Raises ValueError for a checkpoint of other settings, data or weights, which stays as it is."""
    counts = {} if counts is None else counts
    if trainer.args.save_strategy == "no":
        trainer.train()
        return
    settings = _deciding(trainer, given or {})
    trainer.add_callback(Told(rows, counts, settings))
    folders = Path(trainer.args.output_dir or "").glob("checkpoint-*")
    found = sorted(folders, key=lambda path: int(path.name.partition("-")[2]))
    whole = [path for path in found if (path / TOLD).is_file()]
    for path in found:
        if path not in whole:
            shutil.rmtree(path)
    if whole:
        kept = json.loads((whole[-1] / TOLD).read_text(encoding="utf-8"))
        require_same(whole[-1], kept.pop(SETTINGS), settings, "name another folder, or remove it to begin anew")
        counts.update(kept.pop(COUNTS))
        for name, told in kept.items():
            rows[name][:] = told
    trainer.train(resume_from_checkpoint=str(whole[-1]) if whole else None)
