"""What the trainers of transformers and TRL have in common here: settings, and one progress bar."""

from collections.abc import Callable

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from r4t_utils.machine import progress
from r4t_utils.machine.device import device


def trainer_defaults(seed: int, half: bool) -> dict:
    """Arguments shared by every trainer: no checkpoints, no reports; bfloat16 if `half`."""
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
    """Calls ``look(step)`` after every `every` updates."""

    def __init__(self, look: Callable[[int], None], every: int):
        self.look, self.every = look, every

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        if state.global_step % self.every == 0:
            self.look(state.global_step)
