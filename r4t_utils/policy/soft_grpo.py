"""Soft-GRPO (Section 2.3, Eq. 6-8) on TRL's GRPO trainer."""

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from r4t_utils.machine.device import release
from r4t_utils.machine.progress import quiet
from r4t_utils.policy import prompts
from r4t_utils.policy.folm import Folm, sampled, sampler
from r4t_utils.policy.sampling import sample
from r4t_utils.policy.set_reward import SetReward
from r4t_utils.policy.trainer import Look, Watch, checkpointed, moved, train_on, trainer_defaults
from r4t_utils.settings import RlSettings

LOST = 3  # sampled batches in a row without a well-formed fan-out, after which a tuning is given up


@dataclass
class Cost:
    """What tuning took: tokens sampled and trained (one that serves two updates counts twice), and seconds."""

    sampled: int = 0
    trained: int = 0
    sampling: float = 0.0
    scoring: float = 0.0
    whole: float = 0.0

    def __str__(self) -> str:
        updating = self.whole - self.sampling - self.scoring
        parts = {"sampling": self.sampling, "scoring": self.scoring, "updating": updating}
        each = ", ".join(f"{name} {s:.0f} s ({s / max(self.whole, 1e-9):.0%})" for name, s in parts.items())
        return f"{self.sampled:,} tokens sampled and {self.trained:,} trained in {self.whole:.0f} s: {each}"


class SampledGRPOTrainer(GRPOTrainer):
    """GRPO whose completions are drawn by `draw`, as a policy's are everywhere here, and that counts its cost."""

    args: GRPOConfig

    def __init__(self, *args, draw: Callable[..., list[list[int]]] = sample, **kwargs):
        super().__init__(*args, **kwargs)
        self.draw = draw
        self.cost, self.epochs_gone, self.start = Cost(), 0, time.perf_counter()

    def train(self, resume_from_checkpoint: str | None = None, **kwargs):
        if resume_from_checkpoint:
            state = Path(resume_from_checkpoint, "trainer_state.json").read_text(encoding="utf-8")
            self.epochs_gone = int(json.loads(state)["epoch"])
        self.start = time.perf_counter() - self.cost.whole
        trained = super().train(resume_from_checkpoint, **kwargs)
        self.cost.whole = time.perf_counter() - self.start
        return trained

    def _get_train_sampler(self, dataset=None):
        """TRL's, which draws an order of the queries for every epoch: those of the epochs that are gone, too."""
        sampler: Any = super()._get_train_sampler(dataset)
        for _ in range(self.epochs_gone):
            torch.randperm(sampler.num_samples, generator=sampler.generator)
        return sampler

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        start, seed = time.perf_counter(), int(torch.randint(2**62, ()))
        model = sampled(self.accelerator.unwrap_model(self.model), bool(self.args.bf16))
        settings = {"max_new_tokens": self.max_completion_length, "temperature": self.temperature, "top_p": self.top_p}
        completions = self.draw(model, prompt_ids, self.eos_token_ids, **settings, seed=seed)
        del model
        if self.args.bf16:  # accelerate ties a copy's forward to the copy, so that no count of references frees it
            release()
        self.cost.sampling += time.perf_counter() - start
        self.cost.sampled += sum(map(len, completions))
        return completions, None

    def _calculate_rewards(self, *args, **kwargs):
        start = time.perf_counter()
        rewards = super()._calculate_rewards(*args, **kwargs)
        self.cost.scoring += time.perf_counter() - start
        return rewards

    def _compute_loss(self, model, inputs):
        self.cost.trained += int(inputs["completion_mask"].sum())
        self.cost.whole = time.perf_counter() - self.start
        return super()._compute_loss(model, inputs)


class SoftGRPOTrainer(SampledGRPOTrainer):
    """GRPO plus the two soft terms of Eq. 8: beta1 rho (log pi - log pi_old) + beta2 (-log pi), rho = pi / pi_old.

    Their gradient is beta1 (1 + log rho) rho grad(log pi) - beta2 grad(log pi): at rho = 1 it is
    (beta1 - beta2) grad(log pi), nothing when the two are equal. They act once a sampled batch serves several updates.

    Eq. 8 is a loss per token, and every token of a batch weighs the same here (loss_type="dapo"). Averaging within each
    completion first ("grpo") would punish the tokens of a malformed answer the less, the longer it runs on.

    With `credited`, the advantage of a token is that of its fan-out plus its sub-query's `SetReward.credit`, which is
    divided by its standard deviation within the group, as advantages are in Eq. 6. Over a fan-out credit sums to 0.
    """

    def __init__(self, *args, beta1: float, beta2: float, credited: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        self.beta1, self.beta2, self.credited = beta1, beta2, credited

    def _generate_and_score_completions(self, inputs):
        made = super()._generate_and_score_completions(inputs)
        if self.credited:
            reward: Any = self.reward_funcs[0]
            credit = spread_within(reward.credit, self.args.num_generations or 1)
            each = self._of_tokens(credit, made["completion_ids"], made["completion_mask"].bool())
            made["advantages"] = made["advantages"][:, None] + each
        return made

    def _of_tokens(self, credit: np.ndarray, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Credit (n, k) of sub-queries as credit (n, T) of their tokens; 0 where a fan-out's k cannot be told apart."""
        tokenizer: Any = self.processing_class
        out = torch.zeros(ids.shape)
        for i, row in enumerate(ids):
            slots = prompts.slots(tokenizer.batch_decode(row[mask[i]][:, None]))
            if max(slots, default=0) == credit.shape[1] - 1:
                out[i, mask[i].cpu()] = torch.as_tensor(credit[i, slots], dtype=out.dtype)
        return out.to(ids.device)

    def _get_per_token_logps_and_entropies(self, *args, **kwargs):
        out = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        self._log_pi = out[0]  # of the latest pass, which in _compute_loss is the one with a gradient
        return out

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        soft = soft_terms(self._log_pi, inputs.get("old_per_token_logps"), self.beta1, self.beta2)
        # As TRL does: num_items_in_batch counts the tokens of a sampling round, over all processes.
        tokens = inputs["num_items_in_batch"].clamp(min=1) / self.accelerator.num_processes
        tokens = tokens * self.current_gradient_accumulation_steps / self.args.steps_per_generation
        return loss + (soft * inputs["completion_mask"]).sum() / tokens


class KeepsForm(TrainerCallback):
    """Gives a tuning up, by ValueError, whose policy knew the form and lost it: rewards that are all alike have no
    advantage, so it would stay as it is. `rows`: those of the reward, one for each sampled batch."""

    def __init__(self, rows: list[dict], settings: RlSettings):
        self.rows, self.settings = rows, settings

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        formed, s = [row["well_formed"] for row in self.rows], self.settings
        if any(formed[:-LOST]) and not any(formed[-LOST:]):
            found = f"no fan-out of the last {LOST} batches is well formed, where {max(formed):.0%} once were"
            remedy = f"lower rl.learning_rate={s.learning_rate:g} or raise rl.reference_kl={s.reference_kl:g}"
            raise ValueError(f"update {state.global_step}: {found}, and from then on nothing is learnt; {remedy}")


def spread_within(credit: np.ndarray, group: int) -> np.ndarray:
    """Credit (n, k) over its standard deviation within each group of fan-outs (n a multiple of ``group``)."""
    each = credit.reshape(-1, group, credit.shape[1])
    return (each / (each.std((1, 2), keepdims=True) + 1e-4)).reshape(credit.shape)


def soft_terms(log_pi: torch.Tensor, log_pi_old: torch.Tensor | None, beta1: float, beta2: float) -> torch.Tensor:
    """The last two terms of Eq. 8, for each token.

    log_pi, log_pi_old: (B, T); ``log_pi_old`` None means on policy (rho = 1, gradient kept). Returns (B, T).
    """
    log_pi_old = log_pi.detach() if log_pi_old is None else log_pi_old
    log_rho = log_pi - log_pi_old
    return beta1 * log_rho.exp() * log_rho + beta2 * -log_pi


def shares(settings: RlSettings, processes: int) -> tuple[int, int]:
    """Completions in one forward pass of a process, and passes behind an update, such that an update is of as many
    completions whatever the number of processes. Raises ValueError where whole groups cannot be shared out so."""
    s, (prompts_each, rest) = settings, divmod(settings.prompts_per_step, processes)
    if rest:
        why = f"must be a multiple of the {processes} processes, each of which samples whole groups"
        raise ValueError(f"rl.prompts_per_step={s.prompts_per_step} {why}; change one of the two")
    micro = min(s.micro_batch, prompts_each * s.group)
    if prompts_each * s.group % micro:
        why = f"must divide a process's share of a batch, {prompts_each} x rl.group={s.group}"
        raise ValueError(f"rl.micro_batch={s.micro_batch} {why}; change it, or the number of processes ({processes})")
    return micro, prompts_each * s.group // micro


def train(
    policy: Folm,
    task: str,
    queries: list[str],
    reward: SetReward,
    settings: RlSettings,
    seed: int,
    checkpoints: Path | None = None,
    references: Iterable[Iterable[int]] | None = None,
    look: Look | None = None,
) -> list[dict]:
    """Tune ``policy`` in place by Soft-GRPO on queries of the task, with their reference sets (WSCR). `look` may look
    at it meanwhile. In `checkpoints` it leaves what a process that follows a killed one goes on from, to the same end.

    One step = prompts_per_step x group completions, one optimiser update. Returns one row per step: reward, spread,
    components, entropy, clipped share. Processes of ``accelerate launch`` or ``torchrun`` share a step's completions,
    and the rows are of this process's. Raises ValueError when nothing is trainable, when training left every weight as
    it was, when the policy lost the form of an answer, or when the processes cannot share a step. Prints the cost.
    """
    s, (micro, parts) = settings, shares(settings, int(os.environ.get("WORLD_SIZE", 1)))
    rows: dict[str, list] = {"prompt": [policy.prompt(task, query) for query in queries], "query": list(queries)}
    if references is not None:
        rows["reference"] = [list(map(int, reference)) for reference in references]
    whole = s.steps_per_generation * s.num_iterations  # updates that a sampled batch serves
    with quiet(), checkpointed(checkpoints, s.steps, whole) as kept:
        schedule = {"max_steps": s.steps, "lr_scheduler_type": "linear", "warmup_steps": min(5, s.steps // 4)}
        adam = {"learning_rate": s.learning_rate, "adam_beta1": 0.9, "adam_beta2": 0.95, "max_grad_norm": 1.0}
        batches = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": parts, "shuffle_dataset": True}
        reuse = {"steps_per_generation": parts * s.steps_per_generation, "num_iterations": s.num_iterations}
        loss = {"epsilon": s.clip, "beta": s.reference_kl, "scale_rewards": "group", "loss_type": "dapo"}
        # A batch that serves several updates is soon no sample of the policy. The ratio rho before TRL's estimate of
        # KL(pi, reference) mends that, in value and gradient. Without a reference KL, as in the paper, it is idle.
        loss["use_bias_correction_kl"] = True
        group = {"num_generations": s.group, "max_completion_length": policy.settings.max_new_tokens}
        sampling = {"temperature": s.temperature, "top_p": policy.settings.top_p, "top_k": 0}
        options: dict[str, Any] = (
            trainer_defaults(seed, policy.half) | kept | schedule | adam | batches | reuse | loss | group | sampling
        )
        config = GRPOConfig(logging_steps=1, **options)
        data = Dataset.from_dict(rows)
        soft = {"beta1": s.beta1, "beta2": s.beta2, "credited": s.credit == "sub_query"}
        known = {"processing_class": policy.tokenizer, "draw": sampler(policy.settings)}
        trainer = SoftGRPOTrainer(policy.model, reward, config, data, **known, **soft)
        watch = Watch(trainer, f"Soft-GRPO, {task}", shown="reward")
        trainer.add_callback(KeepsForm(reward.rows, s))
        if look:
            trainer.add_callback(look)
        why = "every group had equal rewards (all completions malformed or truncated?)"
        with moved(policy.model, f"{why}; raise folm.max_new_tokens or warm the policy up for longer"):
            told = {"logged": watch.rows, "scored": reward.rows}
            given = {f"rl.{name}": value for name, value in s} | {"folm.sampler": policy.settings.sampler}
            train_on(trainer, told, vars(trainer.cost), given)
    print(f"{task}: {trainer.cost}")
    return _curves(watch.rows, reward.rows, settings)


def _curves(logged: list[dict], scored: list[dict], settings: RlSettings) -> list[dict]:
    """Joins the trainer's rows (one per step) with the reward's (one per sampling round)."""
    updates = settings.steps_per_generation * settings.num_iterations
    rows, tokens = [], float("nan")
    for row in (row for row in logged if "entropy" in row):
        tokens = row.get("completions/mean_length", tokens)  # logged by the steps that sample
        earned = scored[min((row["step"] - 1) // updates, len(scored) - 1)]
        told = {"entropy": row["entropy"], "clipped": row["clip_ratio/region_mean"], "tokens": tokens}
        rows.append({"step": row["step"], **earned, **told})
    return rows
