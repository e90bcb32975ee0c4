"""What helps the student on queries that it never saw? `python docs/generalisation.py RUN [RUN ...]`, one run per seed.

RUN holds what notebooks 1 to 3 of a run wrote. The run's denoiser is trained on its pairs in other ways, and
generators of one evaluation are trained without a teacher; the run's judge says on validation queries what their
directions find, beside the run's own student, noise, a re-ranker and the policy.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import held_out
import numpy as np
import torch
from held_out import HeldOut, Scores
from one_step import MeanFlow, drifting, energy_score, mean_flow_loss
from torch import Tensor, nn

from r4t_utils.diffusion.denoiser import Denoiser
from r4t_utils.diffusion.directions import directions, with_neighbours
from r4t_utils.diffusion.samplers import Sampling
from r4t_utils.diffusion.training import PairSampler, ema_decay, learning_rate, set_loss, train, update_ema
from r4t_utils.evaluation import drawing
from r4t_utils.machine.device import device, fix_threads, side_by_side
from r4t_utils.machine.progress import Bar
from r4t_utils.policy.synthesis import Pairs
from r4t_utils.run import blocks, paths
from r4t_utils.settings import DiffusionSettings
from r4t_utils.space.encoder import unit

AS_IT_IS, LONGER = "the retriever as it is", "three times the updates"
COPIES = 4  # of a query's embedding, which share its targets between them
Net = TypeVar("Net", bound=Denoiser)
ONE_STEP = Sampling(sampler="dpm", sampling_steps=1, guidance=0.0)


class Student(HeldOut):
    """A run's pairs, and students that learn them."""

    def __init__(self, run: Path):
        super().__init__(run, "03_pair_synthesis")
        self.own, self.how = Pairs.load(run / "03_pair_synthesis" / "oar"), self.settings.diffusion
        self.every, self.curve = 0, {}  # updates between looks at a student in training, and what they saw

    def trained(self, targets: np.ndarray, z_q: np.ndarray, counts: np.ndarray, how: DiffusionSettings) -> Denoiser:
        """A denoiser of the run's size that learnt these pairs."""
        denoiser = Denoiser.from_settings(self.encoder.d, how, self.seed).to(device())
        tokens, label = with_neighbours(z_q, self.index, how.neighbours), f"seed {self.seed}"
        looked = {"eval_every": self.every, "on_eval": self.look}
        train(denoiser, targets, tokens, how, counts=counts, seed=self.seed, label=label, **looked)
        return denoiser

    def look(self, step: int, denoiser: Denoiser) -> dict:
        """What the denoiser finds after an update; kept in `curve`."""
        if self.every:
            scores = self.scores(self.answers(denoiser, self.how))
            self.curve[step] = {way: 100 * float(scores[f"{way} quality"].mean()) for way in held_out.WAYS}
        return {}

    def answers(self, denoiser: Denoiser, how: Sampling | DiffusionSettings) -> np.ndarray:
        z_q = self.encoder.text(self.queries)
        return directions(denoiser, z_q, self.index, self.k, self.k, how, self.seed + 3)

    def watched(self, times: int) -> np.ndarray:
        """As the run trains its student, or so many times as long, with a look after every eighth."""
        p, how = self.own, self.how.model_copy(update={"steps": times * self.how.steps})
        self.every = how.steps // 8
        return self.answers(self.trained(p.targets, p.z_q, p.counts, how), how)

    def more_fanouts(self, n: int) -> np.ndarray:
        more = self.pairs("oar", n, self.seed + 6)
        return self.answers(self.trained(more.targets, more.z_q, more.counts, self.how), self.how)

    def of_copies(self, copies: list[np.ndarray]) -> np.ndarray:
        """Every query stands there several times, under other embeddings, which share its targets between them."""
        p, copies = self.own, copies[: self.own.targets.shape[1]]
        n = len(copies)
        F = p.targets.shape[1] // n * n
        targets = np.concatenate([p.targets[:, i:F:n] for i in range(n)])
        counts = np.concatenate([-(-(np.minimum(p.counts, F) - i) // n) for i in range(n)]).clip(0)
        return self.answers(self.trained(targets, np.concatenate(copies), counts, self.how), self.how)

    def noisy(self, spread: float) -> np.ndarray:
        z_q, rng = self.own.z_q, np.random.default_rng(self.seed)
        noise = rng.standard_normal((COPIES, *z_q.shape)).astype(np.float32)
        return self.of_copies([*unit(z_q + spread / np.sqrt(self.encoder.d) * noise)])

    def paraphrased(self) -> np.ndarray:
        """The query itself, and what the zero-shot policy says that comes nearest to it."""
        asked = self.training_queries
        said = self.drawn("zero_shot", asked, 1, self.seed + 5)[:, 0]
        here = (self.own.z_q @ self.encoder.text(asked).T).argmax(1)  # queries without a pair are not there
        near = np.einsum("nkd,nd->nk", said[here], self.own.z_q)
        order = np.argsort(np.where(near > 1 - 1e-5, -1, -near), axis=1, kind="stable")
        rows = [said[here, order[:, i]] for i in range(COPIES - 1)]
        return self.of_copies([self.own.z_q, *rows])

    def under(self, **changes: float) -> np.ndarray:
        """As the run trains its student, under other settings."""
        p, how = self.own, self.how.model_copy(update=changes)
        return self.answers(self.trained(p.targets, p.z_q, p.counts, how), how)

    def learnt(self, net: Net, loss: Callable[[Net, Tensor, Tensor], Tensor]) -> Net:
        """The averaged weights of a network that learnt as the run's did, by a loss of sets and their queries."""
        p, how = self.own, self.how
        ema = copy.deepcopy(net).eval().requires_grad_(False)
        batch = PairSampler(p.targets, with_neighbours(p.z_q, self.index, how.neighbours), p.counts)
        optimiser = torch.optim.Adam(net.parameters(), lr=how.peak_lr, fused=True)
        torch.manual_seed(self.seed)
        with Bar(how.steps, f"seed {self.seed}") as bar:
            for step in range(how.steps):
                optimiser.param_groups[0]["lr"] = learning_rate(step, how.peak_lr, how.warmup_steps, how.steps)
                value = loss(net, *batch(how.batch_size))
                optimiser.zero_grad()
                value.backward()
                optimiser.step()
                update_ema(ema, net, ema_decay(step, how.ema))
                bar.update(1, loss=value.item())
        return ema

    def one_step(self, loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> np.ndarray:
        """A generator of one evaluation: the network at the most noise. The loss: of two sets of it and the target."""

        def of_two(net: Denoiser, Z: Tensor, tokens: Tensor) -> Tensor:
            context, top = net.context(tokens), net.schedule.top
            noise = (context.centre + top * torch.randn_like(Z) for _ in range(2))
            one, two = (net(each, torch.as_tensor(top), context=context) for each in noise)
            return loss(one, two, Z)

        net = Denoiser.from_settings(self.encoder.d, self.how, self.seed).to(device())
        return self.answers(self.learnt(net, of_two), ONE_STEP)

    def mean_flow(self) -> np.ndarray:
        net = MeanFlow(Denoiser.from_settings(self.encoder.d, self.how).config, self.seed).to(device())
        return self.answers(self.learnt(net, mean_flow_loss), ONE_STEP)

    def numbered(self) -> np.ndarray:
        """Rows in the order in which the policy wrote them, each with an embedding of its place."""

        def eq_9(net: Denoiser, Z: Tensor, tokens: Tensor) -> Tensor:
            keep = torch.rand(len(Z)) >= self.how.condition_drop
            return set_loss(net, Z, tokens, net.schedule.training_sigma(len(Z)), torch.randn_like(Z), keep).mean()

        net = Denoiser.from_settings(self.encoder.d, self.how, self.seed)
        net.add_module("rows_in", Numbered(net.rows_in, self.own.targets.shape[2]))
        return self.answers(self.learnt(net, eq_9), self.how)


class Numbered(nn.Module):
    """A layer for rows (B, L, d) that adds what it learns of the places 1 to L."""

    def __init__(self, layer: nn.Linear, L: int):
        super().__init__()
        self.layer, self.places = layer, nn.Parameter(torch.zeros(L, layer.out_features))

    def forward(self, rows: Tensor) -> Tensor:
        return self.layer(rows) + self.places[: rows.shape[1]]


TRIALS: dict[str, Callable[[Student], np.ndarray]] = {
    AS_IT_IS: lambda s: s.watched(1),
    LONGER: lambda s: s.watched(3),
    "four fan-outs of a query": lambda s: s.more_fanouts(4),
    "noise of length 0.2 on z_q in training": lambda s: s.noisy(0.2),
    "noise of length 0.5 on z_q in training": lambda s: s.noisy(0.5),
    "paraphrases of the query by the zero-shot policy": Student.paraphrased,
    "rows as they are, not as differences from the query": lambda s: s.under(around_query=False),
    "sampling from near the query on": lambda s: s.under(sigma_max=4.0),
    "rows in the policy's order, each place with an embedding": Student.numbered,
    "one evaluation, trained by the energy score": lambda s: s.one_step(energy_score),
    "one evaluation, trained by drifting": lambda s: s.one_step(drifting),
    "one evaluation, trained as improved MeanFlow": Student.mean_flow,
}


def measured(run: Path, row: str) -> tuple[Scores, list[dict]]:
    """What the judge says of a row and how its sets lie; and the curve of those that were watched in training."""
    student = Student(run)
    if row in ("noise", "MMR"):
        return student.noise() if row == "noise" else student.mmr(), []
    if row == "R4T-FOLM":
        rows = student.drawn("oar", student.queries, 1, student.seed + 2)[:, 0]
    else:
        rows = TRIALS[row](student)
    said = {"row": row, "seed": student.seed}
    curve = [said | {"step": n, "way": w, "quality": q} for n, at in student.curve.items() for w, q in at.items()]
    return student.scores(rows) | student.geometry(rows), curve


def main(runs: list[Path]) -> None:
    names = ["noise", "MMR", "R4T-FOLM", *TRIALS]
    tasks = {f"{name} @ {run}": (run, name) for run in runs for name in names}
    found = side_by_side(lambda task: measured(*tasks[task]), tasks, 2)
    each = {name: held_out.over_seeds([found[f"{name} @ {run}"][0] for run in runs]) for name in names}
    held_out.record("generalisation", each)
    held_out.write_table("generalisation_curve", [row for _, curve in found.values() for row in curve])
    drawing.draw("generalisation", paths.results() / "trials")
    heads = "row", "merged: alignment / recall = quality", "above noise", "above the student"
    heads += "alone", "above noise", "above the student", "distance", "different", "cosine of rows"
    rows = []
    for name, scores in each.items():
        cells = [name]
        for way in held_out.WAYS:
            others = (each[other] for other in ("noise", AS_IT_IS))
            cells += [held_out.cell(scores, way), *(held_out.gain(scores, other, way) for other in others)]
        shape = ("distance", "different", "cosine of rows")
        cells += [f"{scores[key].mean():.2f}" if key in scores else "" for key in shape]
        rows.append(cells)
    print(*blocks.table(heads, rows), sep="\n")


if __name__ == "__main__":
    fix_threads()
    main(held_out.asked("03_pair_synthesis"))
