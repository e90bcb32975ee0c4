"""Figures of training, as functions of the data frames of their CSV files; a docstring is an alt text."""

from itertools import cycle
from textwrap import fill

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from r4t_utils.evaluation.claims import FOLM, MMR
from r4t_utils.evaluation.looks import COLOURS, DASHED, PALETTE, TASK_COLOURS, TASKS, by_task, subplots

SCORES = "quality", "alignment", "subtopic recall"  # of few_evaluations.csv, as shares
EVALUATIONS = 1, 2, 4, 8, 16, 64, 256


def _curve(ax: Axes, rows: pd.DataFrame, column: str, ticks: int) -> None:
    """One task's column over the steps, in the task's colour."""
    ax.plot(rows.step, rows[column], color=TASK_COLOURS[rows.task.iloc[0]])
    ax.xaxis.set_major_locator(MaxNLocator(ticks, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(5))


def encoder_prefixes(frame: pd.DataFrame) -> Figure:
    """Hit rate at 10 of the encoder for its prefixes of the embedding, one line per kind of query, with 95 % intervals:
    how much of the retrieval quality each shorter prefix keeps."""
    figure, ((ax,),) = subplots(1, 1, 2.7)
    for i, (query, rows) in enumerate(frame.groupby("query", sort=False)):
        bars = np.abs(rows[["low", "high"]].T.to_numpy() - rows.hit_at_10.to_numpy())
        look = {"color": PALETTE[i], "marker": "os^Dv"[i % 5], "markersize": 5, "capsize": 2}
        ax.errorbar(rows.prefix, rows.hit_at_10, bars, label=query, **look)
    kept = sorted(frame.prefix.unique())
    ax.set_xscale("log", base=2)
    ax.set(xticks=kept, xticklabels=kept, xlabel="dimensions kept (prefix of the unit vector)", ylabel="hit rate@10")
    figure.legend(title="query", loc="outside right center", title_fontsize=8)
    return figure


def rl_curves(frame: pd.DataFrame) -> Figure:
    """RL training, a row of panels for each task, over update steps: mean reward with a band of one standard
    deviation, entropy of the policy, share of clipped tokens, and share of well-formed fan-outs."""
    tasks = by_task(frame.sort_values("step"))
    figure, axes = subplots(len(tasks), 4, 1.75 * len(tasks) + 0.3, sharex="row")
    for ax, title in zip(axes[0], ("reward", "entropy (nats)", "clipped share", "well-formed share")):
        ax.set_title(title)
    for row, (task, curve) in zip(axes, tasks.items()):
        for ax, column in zip(row, ("reward", "entropy", "clipped", "well_formed")):
            _curve(ax, curve, column, 4)
        low, high = curve.reward - curve.reward_std, curve.reward + curve.reward_std
        row[0].fill_between(curve.step, low, high, color=TASK_COLOURS[task], alpha=0.25, linewidth=0)
        row[0].set_ylabel(TASKS[task], fontweight="bold")
        row[2].set_ylim(-0.02, max(0.2, 1.1 * curve.clipped.max()))
        row[3].set_ylim(min(0.8, curve.well_formed.min() - 0.02), 1.02)
    figure.supxlabel("update step", fontsize=9)
    return figure


def reward_components(frame: pd.DataFrame) -> Figure:
    """The three terms of the OAR reward over update steps, each on its own scale: groundedness, diversity (Vendi score
    of what is found) and alignment with the query."""
    figure, axes = subplots(1, 3, 2.1, sharex=True)
    titles = {"ground": "groundedness (Eq. 3)", "div": "diversity: Vendi (Eq. 2)", "align": "alignment (Eq. 4)"}
    curve = by_task(frame)["oar"].sort_values("step")
    for ax, (column, title) in zip(axes[0], titles.items()):
        _curve(ax, curve, column, 5)
        ax.set_title(title)
    figure.supxlabel("update step", fontsize=9)
    return figure


def diffusion_loss(loss: pd.DataFrame, by_sigma: pd.DataFrame) -> Figure:
    """Left: training loss of the set-diffusion model over steps, one line per task. Right: its loss at each noise level
    sigma, on a logarithmic axis, for several moments of training (pale: early)."""
    tasks = by_task(by_sigma)
    figure, axes = subplots(1, 1 + len(tasks), 2.6)
    ax, *right = axes[0]
    for task, rows in by_task(loss).items():
        ax.plot(rows.step, rows.loss, color=TASK_COLOURS[task], label=TASKS[task])
    ax.set(title="training loss", xlabel="step", ylabel="loss (Eq. 9)")
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.legend()
    for ax, (task, rows) in zip(right, tasks.items()):
        steps = sorted(rows.step.unique())
        steps = [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, 5).round().astype(int))]
        for step, shade in zip(steps, sns.color_palette("crest", len(steps)).as_hex()):
            line = rows.loc[rows.step == step].sort_values("sigma")
            ax.plot(line.sigma, line.loss, color=shade, label=f"{step:,}")
        ax.set(title=f"{TASKS[task]}: loss by noise level", xlabel="noise level σ", xscale="log")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.legend(title="step", title_fontsize=8, handlelength=1.2, labelspacing=0.25)
    return figure


def diffusion_progress(frame: pd.DataFrame) -> Figure:
    """Samples over diffusion training, one line per task. Left: mean distance of a generated row to its nearest
    content. Right: Vendi score of a generated set. Dashed lines: the same for the training targets."""
    tasks = by_task(frame.sort_values("step"))
    figure, axes = subplots(1, 2, 2.6)
    dots = {"marker": "o", "markersize": 3.5}
    titles = {"distance": "distance of a row to the database", "vendi": "Vendi score of a set"}
    for ax, (column, title) in zip(axes[0], titles.items()):
        for task, rows in tasks.items():
            ax.plot(rows.step, rows[column], color=TASK_COLOURS[task], **dots)
            ax.axhline(rows[f"data_{column}"].iloc[-1], color=TASK_COLOURS[task], linestyle=DASHED, lw=1)
        highest = frame[[column, f"data_{column}"]].max(axis=None)
        ax.set(title=title, xlabel="training step", ylim=(0, 1.08 * highest))
    handles = [Line2D([], [], color=TASK_COLOURS[task], label=TASKS[task], **dots) for task in tasks]
    handles.append(Line2D([], [], color="0.45", linestyle=DASHED, linewidth=1, label="training targets"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def few_evaluations(frame: pd.DataFrame) -> Figure:
    """How many evaluations of the network a set needs: for several samplers, against the number of evaluations on a
    logarithmic axis, the quality of the fan-out alone and its parts, alignment and subtopic recall, in hundredths; the
    different contents that ten rows are nearest to, and their distance to these; and the energy distance between
    generated sets and the policy's, with 95 % intervals over seeds and queries. Horizontal lines: noise, MMR and the
    policy. The numbers are in few_evaluations.csv."""
    panels, by = frame.measure.nunique(), np.where(frame.measure.isin(SCORES), 100, 1)
    frame = frame.assign(**{name: by * frame[name] for name in ("mean", "low", "high")})
    figure, axes = subplots(-(-panels // 2), 2, 2.1 * -(-panels // 2) + 0.4, sharex=True)
    sampled, level = frame.loc[frame.evaluations > 0], frame.loc[frame.evaluations == 0]
    for ax, (measure, rows) in zip(axes.flat, sampled.groupby("measure", sort=False)):
        for i, (sampler, line) in enumerate(rows.groupby("sampler", sort=False)):
            line = line.sort_values("evaluations")
            bars = [line["mean"] - line.low, line.high - line["mean"]]
            look = {"color": PALETTE[i], "marker": "o^sD"[i % 4], "markersize": 4, "capsize": 2, "label": sampler}
            beside = 1.04 ** (i - 1.5)  # so that no bar hides another
            ax.errorbar(beside * line.evaluations, line["mean"], bars, **look)
        for row in level.loc[level.measure == measure].itertuples():
            dashes = {MMR: DASHED, FOLM: (0, (1, 1.5))}.get(row.row, "-")
            ax.axhline(row.mean, color=COLOURS[row.row], linestyle=dashes, linewidth=1, label=row.row, zorder=0)
        ax.set_xscale("log", base=2)
        ax.set(title=measure, xticks=EVALUATIONS, xticklabels=EVALUATIONS)
        ax.xaxis.set_minor_locator(NullLocator())
    for ax in axes[-1]:
        ax.set_xlabel("evaluations of the network")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def generalisation(trials: pd.DataFrame, curve: pd.DataFrame) -> Figure:
    """What helps the diffusion retriever on queries that it never saw. Left: how far the judge's quality of what each
    way of training finds lies above that of noise around the query, merged with the query's own list and alone, with
    95 % intervals over seeds and queries. Right: the quality itself over the updates of the retriever as it is and of
    one that is trained three times as long, with a band from the lowest to the highest seed. The numbers are in
    generalisation.csv and generalisation_curve.csv."""
    figure, ((left, right),) = subplots(1, 2, 4.4, gridspec_kw={"width_ratios": [1.15, 1]})
    _qualities(left, trials)
    for i, (name, lines) in enumerate(curve.groupby(curve["row"] + ", " + curve.way, sort=False)):
        seeds = lines.pivot(index="step", columns="seed", values="quality")
        colour, style = PALETTE[2 + i // 2], DASHED if i % 2 else "-"  # other colours than on the left
        right.plot(seeds.index, seeds.mean(axis=1), color=colour, linestyle=style, label=name)
        right.fill_between(seeds.index, seeds.min(axis=1), seeds.max(axis=1), color=colour, alpha=0.15, lw=0)
    right.set(xlabel="updates", ylabel="points of 100", title="quality over training")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2, fontsize=7)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=7)
    return figure


def students(trials: pd.DataFrame) -> Figure:
    """What the same diffusion retriever makes of other targets: how far the judge's quality of what it finds lies above
    that of noise around the query, merged with the query's own list and alone, with 95 % intervals over seeds and
    queries; beside it the plain query, a re-ranker and the policies. The numbers are in students.csv."""
    figure, ((ax,),) = subplots(1, 1, 4.4)
    _qualities(ax, trials)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _qualities(ax: Axes, trials: pd.DataFrame) -> None:
    """How far each row of a trial lies above noise, a dot for each way of answering, with its interval."""
    frame = trials.loc[(trials.measure == "quality") & (trials["row"] != "noise")]
    rows = list(dict.fromkeys(frame["row"]))
    for i, (way, dots) in enumerate(frame.groupby("way", sort=False)):
        place = np.array([rows.index(row) for row in dots["row"]]) + 0.16 * (2 * i - 1)
        bars = np.abs(dots[["above_low", "above_high"]].T.to_numpy() - dots["above_noise"].to_numpy())
        look = {"color": PALETTE[i], "marker": "os"[i % 2], "markersize": 4, "capsize": 2, "linestyle": "none"}
        ax.errorbar(dots["above_noise"], place, xerr=bars, label=way, **look)
    ax.axvline(0, color="0.5", linewidth=1, zorder=0)
    ax.set_yticks(range(len(rows)), [fill(row, 40) for row in rows], fontsize=6.5)
    ax.set(title="quality above noise", xlabel="points of 100", ylim=(len(rows) - 0.4, -0.6))


def ablations(frame: pd.DataFrame) -> Figure:
    """What each part of the reward does: policies over training, means over fixed validation queries and seeds, with a
    band from the lowest to the highest seed where three policies at most are compared. Columns: groundedness, diversity
    (Vendi / k) and alignment, the terms of the reward; the share of nearest contents that differ; and the judge's
    quality of the fan-out alone, all in hundredths. Rows: which terms are rewarded, by which weights, of which policy,
    with Vendi as printed, on which scale, on how many samples, used how often. A policy keeps its colour in all rows.
    The numbers are in ablations.csv."""
    panels = {"ground": "groundedness", "div": "diversity", "align": "alignment", "contents": "different contents"}
    panels |= {"quality": "quality, alone"}
    questions = dict.fromkeys(q for each in frame.questions.unique() for q in each.split(", "))
    again = dict(
        zip(frame.loc[frame.questions.str.contains(", "), "variant"].unique(), (PALETTE[9], "0.15", PALETTE[7]))
    )
    figure = Figure(figsize=(7, 2.2 * len(questions)), layout="constrained")
    for part, question in zip(figure.subfigures(len(questions), 1, squeeze=False)[:, 0], questions):
        own = frame[[question in each.split(", ") for each in frame.questions]]
        axes, banded = part.subplots(1, len(panels)), own.variant.nunique() <= 3
        for first, marker, (variant, lines) in zip(PALETTE, cycle("os^Dv<>"), own.groupby("variant", sort=False)):
            colour = again.get(str(variant), first)
            for ax, (column, title) in zip(axes, panels.items()):
                seeds = 100 * lines.pivot(index="step", columns="seed", values=column)
                ax.plot(seeds.index, seeds.mean(axis=1), color=colour, marker=marker, markersize=3, label=variant)
                if banded:  # more would hide the lines
                    ax.fill_between(seeds.index, seeds.min(axis=1), seeds.max(axis=1), color=colour, alpha=0.2, lw=0)
                ax.set_title(title, fontsize=8)
                ax.tick_params(labelsize=7)
                ax.yaxis.set_major_locator(MaxNLocator(4))
        axes[0].set_ylabel(question, fontweight="bold")
        part.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    figure.supxlabel("update step", fontsize=9)
    return figure
