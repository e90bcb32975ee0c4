"""Soft-GRPO (Section 2.3, Eq. 6-8) on TRL's GRPO trainer, with the rewards of both tasks."""

from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from r4t_utils.policy import rewards
from r4t_utils.policy.folm import Folm, parse
from r4t_utils.policy.trainer import Watch, quiet, trainer_defaults
from r4t_utils.space.index import Index


class SoftGRPOTrainer(GRPOTrainer):
    """GRPO plus the two soft terms of Eq. 8: beta1 rho (log pi - log pi_old) + beta2 (-log pi), rho = pi / pi_old.

    Their gradient is beta1 (1 + log rho) rho grad(log pi) - beta2 grad(log pi): at rho = 1 it is
    (beta1 - beta2) grad(log pi), nothing when the two are equal. They act once a sampled batch serves several updates.

    Eq. 8 is a loss per token, and every token of a batch weighs the same here (loss_type="dapo"). Averaging within each
    completion first ("grpo") would punish the tokens of a malformed answer the less, the longer it runs on.
    """

    def __init__(self, *args, beta1: float, beta2: float, **kwargs):
        super().__init__(*args, **kwargs)
        self.beta1, self.beta2 = beta1, beta2

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


def soft_terms(log_pi, log_pi_old, beta1: float, beta2: float) -> torch.Tensor:
    """The last two terms of Eq. 8, for each token.

    log_pi, log_pi_old: (B, T); ``log_pi_old`` None means on policy (rho = 1, gradient kept). Returns (B, T).
    """
    log_pi_old = log_pi.detach() if log_pi_old is None else log_pi_old
    log_rho = log_pi - log_pi_old
    return beta1 * log_rho.exp() * log_rho + beta2 * -log_pi


class SetReward:
    """Set-level reward of completions, as TRL calls it; keeps its components for the curves.

    OAR: the composite of Eq. 1 over the collections, in which a sub-query that is said twice adds to Eq. 3 and 4 once
    unless ``settings.repeats`` is "printed". A malformed fan-out earns 0, or what the worst well-formed one of the same
    call does where that is less. (The lowest value of Eq. 1, about -0.8, lies some thirty standard deviations from the
    well-formed ones: one such fan-out in a group leaves the others with nearly equal advantages, and nothing but form
    is learnt.)

    WSCR: the coverage of Eq. 5 over the items, to which a sub-query that stutters adds nothing unless ``repeats`` is
    "printed": stutters end in loops that never close. (They do in OAR too, where paying them nothing was tried, and
    made fan-outs cautious.) A malformed fan-out earns what one item of the reference set is worth, negative: 0 is what
    many a well-formed one earns, and form would not be learnt.
    """

    def __init__(self, task: str, encoder, index: Index, settings, k: int, n: int = 1):
        self.task, self.encoder, self.index, self.settings = task, encoder, index, settings
        self.k, self.n = k, n
        self.__name__ = f"{task}_reward"
        self.rows: list[dict] = []  # one a call: the mean of every component

    def __call__(self, completions: list[str], query: list[str], reference=None, **_) -> list[float]:
        fanouts = [parse(text, self.k) for text in completions]
        well_formed = np.array([not fanout.fault for fanout in fanouts])
        total, parts = self.score(query, [fanout.queries if not fanout.fault else [] for fanout in fanouts], reference,
                                  [fanout.stutters for fanout in fanouts])
        self.rows.append({"reward": total.mean(), "reward_std": _group_std(total, self.settings.group),
                          **{name: values.mean() for name, values in parts.items()}, "well_formed": well_formed.mean()})
        return total.tolist()

    def score(self, query: list[str], fanouts: list[list[str]], reference=None,
              stutters=None) -> tuple[np.ndarray, dict]:
        """Reward (n,) of parsed fan-outs ([] = malformed), and its components; ``stutters`` as in ``Fanout``."""
        present = _flags([[True] * len(fanout) for fanout in fanouts], self.k)
        flat = [sub or "?" for fanout in fanouts for sub in (*fanout, *[""] * (self.k - len(fanout)))]
        Q = self.encoder.text(flat)
        ids, distance = self.index.search(Q, self.n)
        Q, ids = Q.reshape(*present.shape, -1), ids.reshape(*present.shape, self.n)
        s = self.settings
        if self.task == "wscr":
            counts = present & ~_flags(stutters, self.k) if stutters and s.repeats == "once" else present
            covered = rewards.coverage(reference, [np.where(c[:, None], i, -1) for c, i in zip(counts, ids)])
            return np.where(present.any(1), covered, [-1 / len(Y) for Y in reference]), {}
        repeated = None if s.repeats == "printed" else _flags(
            [[sub in fanout[:i] for i, sub in enumerate(fanout)] for fanout in fanouts], self.k)
        reward = rewards.composite(
            distance[:, 0].reshape(present.shape), self.index.vectors[ids[..., 0]], Q, self.encoder.text(query),
            lambda_g=s.lambda_g, lambda_d=s.lambda_d, lambda_a=s.lambda_a, diversity=s.diversity,
            present=present, repeated=repeated)
        formed = present.any(1)
        total = np.where(formed, reward.total, min(0.0, reward.total[formed].min(initial=0.0)))
        return total, {"ground": reward.ground, "div": reward.div, "align": reward.align}


def _flags(rows: list, k: int) -> np.ndarray:
    """Rows of up to k truth values as a bool (n, k), False where a row ends."""
    return np.array([[*row, *[False] * (k - len(row))] for row in rows], bool)


def _group_std(values: np.ndarray, group: int) -> float:
    return float(values.reshape(-1, group).std(1).mean()) if len(values) % group == 0 else float(values.std())


def train(policy: Folm, task: str, queries: list[str], reward: SetReward, settings, seed: int, folder: Path,
          references=None) -> list[dict]:
    """Tune ``policy`` in place by Soft-GRPO. Returns a row a step: reward, spread, components, entropy, clipped share.

    Args:
        queries: training queries of the task; references: their reference sets (WSCR).
        settings: the ``rl`` section. One step = prompts_per_step x group completions, one optimiser update.
    Raises ValueError when nothing is trainable, or when training left every weight as it was.
    """
    completions = settings.prompts_per_step * settings.group
    micro = min(settings.micro_batch, completions)
    rows = {"prompt": [policy.prompt(task, query) for query in queries], "query": list(queries)}
    if references is not None:
        rows["reference"] = [list(map(int, reference)) for reference in references]
    with quiet():
        config = GRPOConfig(
            output_dir=str(folder), max_steps=settings.steps, learning_rate=settings.learning_rate,
            adam_beta1=0.9, adam_beta2=0.95, lr_scheduler_type="linear",
            warmup_steps=min(5, settings.steps // 4),
            per_device_train_batch_size=micro, gradient_accumulation_steps=completions // micro,
            steps_per_generation=completions // micro * settings.steps_per_generation,
            num_iterations=settings.num_iterations,
            num_generations=settings.group, epsilon=settings.clip, beta=settings.reference_kl, scale_rewards="group",
            loss_type="dapo", temperature=settings.temperature, max_completion_length=policy.settings.max_new_tokens,
            top_p=policy.settings.top_p, top_k=0, max_grad_norm=1.0, logging_steps=1, shuffle_dataset=True,
            **trainer_defaults(seed))
        trainer = SoftGRPOTrainer(policy.model, reward_funcs=reward, args=config, train_dataset=Dataset.from_dict(rows),
                                  processing_class=policy.tokenizer, beta1=settings.beta1, beta2=settings.beta2)
        watch = Watch(trainer, f"Soft-GRPO, {task}", shown="reward")
        before = {name: p.detach().clone() for name, p in policy.model.named_parameters() if p.requires_grad}
        if not before:
            raise ValueError("the policy has no trainable parameter; load a LoRA adapter with is_trainable=True")
        trainer.train()
    if all(torch.equal(before[name], p) for name, p in policy.model.named_parameters() if name in before):
        raise ValueError(f"{settings.steps} steps moved no weight: every group had equal rewards (all completions "
                         "malformed or truncated?); raise folm.max_new_tokens or warm the policy up for longer")
    return _curves(watch.rows, reward.rows, settings)


def _curves(logged: list[dict], scored: list[dict], settings) -> list[dict]:
    """Joins the trainer's rows (one a step) with the reward's (one a sampling round)."""
    updates = settings.steps_per_generation * settings.num_iterations
    rows, tokens = [], float("nan")
    for row in (row for row in logged if "entropy" in row):
        tokens = row.get("completions/mean_length", tokens)  # logged by the steps that sample
        rows.append({"step": row["step"], **scored[min((row["step"] - 1) // updates, len(scored) - 1)],
                     "entropy": row["entropy"], "clipped": row["clip_ratio/region_mean"], "tokens": tokens})
    return rows
