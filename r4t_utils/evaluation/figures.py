"""Every figure as a function of data frames: style, colours, and the registry with CSV files and alt text.

Methods keep one colour and one marker throughout; `plots` reads, draws and saves.
"""

from collections.abc import Callable
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from r4t_utils.evaluation.claims import BEST_OF_5, DIFFUSION, FOLM, METHODS, NO_FANOUT, ZERO_SHOT

WIDTH, DPI = 7.0, 110  # inches and dots an inch: 770 pixels, readable at 700
DASHED = (0, (4, 2))
_palette = sns.color_palette("colorblind").as_hex()
COLOURS = {
    NO_FANOUT: _palette[7],
    ZERO_SHOT: _palette[4],
    BEST_OF_5: _palette[2],
    FOLM: _palette[0],
    DIFFUSION: _palette[3],
}
MARKERS = {NO_FANOUT: "v", ZERO_SHOT: "s", BEST_OF_5: "^", FOLM: "o", DIFFUSION: "D"}
TASKS = {"oar": "OAR", "wscr": "WSCR"}
TASK_COLOURS = {"oar": _palette[5], "wscr": _palette[9]}
STYLE = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("paper"),
    "lines.linewidth": 1.5,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "grid.linewidth": 0.6,
    "grid.color": "0.9",
    "axes.edgecolor": "0.7",
}


class Entry(NamedTuple):
    csvs: tuple[str, ...]
    function: Callable[..., Figure]
    alt: str


FIGURES: dict[str, Entry] = {}


def _figure(*csvs: str, alt: str):
    """Register a function under its own name; it is always drawn in the common style."""

    def register(function):
        def styled(*frames: pd.DataFrame) -> Figure:
            with matplotlib.rc_context(STYLE):
                return function(*frames)

        FIGURES[function.__name__] = Entry(csvs, styled, alt)
        return styled

    return register


def _axes(rows: int, columns: int, height: float, **kwargs):
    """A figure without pyplot, so that nothing is shown twice or kept between cells."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _tasks(frame: pd.DataFrame) -> list[str]:
    return [task for task in TASKS if task in set(frame.task)]


@_figure(
    "encoder_prefixes.csv",
    alt=(
        "Recall at 10 of the encoder for its prefixes of the embedding, one line a kind of query, with 95 % "
        "intervals: how much of the retrieval quality each shorter prefix keeps."
    ),
)
def encoder_prefixes(frame):
    figure, ((ax,),) = _axes(1, 1, 2.7)
    for i, (query, rows) in enumerate(frame.groupby("query", sort=False)):
        rows = rows.sort_values("prefix")
        bars = np.abs(rows[["low", "high"]].T.to_numpy() - rows.recall_at_10.to_numpy())
        ax.errorbar(
            rows.prefix,
            rows.recall_at_10,
            bars,
            label=query,
            color=_palette[i],
            marker="os^Dv"[i % 5],
            markersize=5,
            capsize=2,
        )
    ax.set_xscale("log", base=2)
    ax.set_xticks(sorted(frame.prefix.unique()), [str(p) for p in sorted(frame.prefix.unique())])
    ax.set(xlabel="dimensions kept (prefix of the unit vector)", ylabel="recall@10")
    ax.legend(title="query", loc="center left", title_fontsize=8)
    return figure


@_figure(
    "rl_curves.csv",
    alt=(
        "RL training, a row of panels for each task, over update steps: mean reward with a band of one standard "
        "deviation, entropy of the policy, share of clipped tokens, and share of well-formed fan-outs."
    ),
)
def rl_curves(frame):
    tasks = _tasks(frame)
    figure, axes = _axes(len(tasks), 4, 1.75 * len(tasks) + 0.3, sharex="row")
    columns = {
        "reward": "reward",
        "entropy": "entropy (nats)",
        "clipped": "clipped share",
        "well_formed": "well-formed share",
    }
    for row, task in zip(axes, tasks):
        curve = frame[frame.task == task].sort_values("step")
        colour = TASK_COLOURS[task]
        for ax, column in zip(row, columns):
            ax.plot(curve.step, curve[column], color=colour)
            ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            ax.yaxis.set_major_locator(MaxNLocator(5))
        row[0].fill_between(
            curve.step,
            curve.reward - curve.reward_std,
            curve.reward + curve.reward_std,
            color=colour,
            alpha=0.25,
            linewidth=0,
        )
        row[2].set_ylim(-0.02, max(0.2, 1.1 * curve.clipped.max()))
        row[3].set_ylim(min(0.8, curve.well_formed.min() - 0.02), 1.02)
        row[0].set_ylabel(TASKS[task], fontweight="bold")
    for ax, title in zip(axes[0], columns.values()):
        ax.set_title(title)
    figure.supxlabel("update step", fontsize=9)
    return figure


@_figure(
    "rl_curves.csv",
    alt=(
        "The three terms of the OAR reward over update steps, each on its own scale: groundedness, diversity "
        "(Vendi score of the representatives) and alignment with the query."
    ),
)
def reward_components(frame):
    curve = frame[frame.task == "oar"].sort_values("step")
    figure, axes = _axes(1, 3, 2.1, sharex=True)
    titles = {"ground": "groundedness (Eq. 3)", "div": "diversity: Vendi (Eq. 2)", "align": "alignment (Eq. 4)"}
    for ax, (column, title) in zip(axes[0], titles.items()):
        ax.plot(curve.step, curve[column], color=TASK_COLOURS["oar"])
        ax.set_title(title)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(5))
    figure.supxlabel("update step", fontsize=9)
    return figure


@_figure(
    "diffusion_loss.csv",
    "diffusion_loss_by_sigma.csv",
    alt=(
        "Left: training loss of the set-diffusion model over steps, one line a task. Right: its loss at each "
        "noise level sigma, on a logarithmic axis, for several moments of training (pale: early)."
    ),
)
def diffusion_loss(loss, by_sigma):
    tasks = _tasks(by_sigma)
    figure, axes = _axes(1, 1 + len(tasks), 2.6)
    ax, *right = axes[0]
    for task, rows in loss.groupby("task", sort=False):
        ax.plot(rows.step, rows.loss, color=TASK_COLOURS[task], label=TASKS[task])
    ax.set(title="training loss", xlabel="step", ylabel="loss (Eq. 9)")
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.legend()
    for ax, task in zip(right, tasks):
        rows = by_sigma[by_sigma.task == task]
        steps = sorted(rows.step.unique())
        steps = [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, 5).round().astype(int))]
        shades = sns.color_palette("crest", len(steps)).as_hex()
        for step, shade in zip(steps, shades):
            line = rows[rows.step == step].sort_values("sigma")
            ax.plot(line.sigma, line.loss, color=shade, label=f"{step:,}")
        ax.set(title=f"{TASKS[task]}: loss by noise level", xlabel="noise level σ", xscale="log")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.legend(title="step", title_fontsize=8, handlelength=1.2, labelspacing=0.25)
    return figure


@_figure(
    "diffusion_progress.csv",
    alt=(
        "Samples over diffusion training, one line a task. Left: mean distance of a generated row to its nearest "
        "content. Right: Vendi score of a generated set. Dashed lines: the same for the training targets."
    ),
)
def diffusion_progress(frame):
    figure, axes = _axes(1, 2, 2.6)
    titles = {"distance": "distance of a row to the database", "vendi": "Vendi score of a set"}
    for ax, (column, title) in zip(axes[0], titles.items()):
        for task in _tasks(frame):
            rows = frame[frame.task == task].sort_values("step")
            ax.plot(rows.step, rows[column], color=TASK_COLOURS[task], marker="o", markersize=3.5)
            ax.axhline(rows[f"data_{column}"].iloc[-1], color=TASK_COLOURS[task], linestyle=DASHED, lw=1)
        ax.set(title=title, xlabel="training step")
        ax.set_ylim(bottom=0)
    handles = [
        Line2D([], [], color=TASK_COLOURS[task], marker="o", markersize=3.5, label=TASKS[task])
        for task in _tasks(frame)
    ]
    handles.append(Line2D([], [], color="0.45", linestyle=DASHED, linewidth=1, label="training targets"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


HOLLOW = {"marker": "d", "markersize": 4.5, "linestyle": "none", "markerfacecolor": "none", "markeredgecolor": "0.6"}
RESULT_PANELS = {"oar": ("groundedness", "diversity", "alignment"), "wscr": ("recall", "hit", "vendi")}


def _dots(ax, rows: pd.DataFrame) -> None:
    """One panel of `results`: ours on the lower axis; the paper's, hollow, on a grey axis above."""
    for y, method in enumerate(METHODS):
        if method in rows.index:
            r = rows.loc[method]
            ax.errorbar(
                r["mean"],
                y,
                xerr=[[r["mean"] - r.low], [r.high - r["mean"]]],
                color=COLOURS[method],
                marker=MARKERS[method],
                markersize=6,
                capsize=2,
                linestyle="none",
            )
    paper = rows.paper.dropna()
    if len(paper):
        top = ax.twiny()
        top.plot(paper, [METHODS.index(m) + 0.3 for m in paper.index], **HOLLOW)
        top.grid(False)
        top.margins(x=0.15)
        top.xaxis.set_major_locator(MaxNLocator(4))
        top.tick_params(axis="x", colors="0.6", labelsize=7, pad=0)
        top.spines[:].set_visible(False)
    ax.margins(x=0.12)
    ax.set(ylim=(len(METHODS) - 0.4, -0.5))
    ax.set_yticks(range(len(METHODS)), METHODS)
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_locator(MaxNLocator(4))


@_figure(
    "metrics.csv",
    alt=(
        "Test scores of five methods with 95 % intervals. Upper row, OAR: groundedness, diversity and alignment; "
        "lower row, WSCR: recall, hit rate and Vendi score. Hollow grey diamonds on separate upper axes: the "
        "paper's values, from another judge, corpus and policy. The numbers are in metrics.csv."
    ),
)
def results(frame):
    tasks = _tasks(frame)
    figure, axes = _axes(len(tasks), 3, 2.35 * len(tasks) + 0.3, sharey=True)
    for row, task in zip(axes, tasks):
        for ax, metric in zip(row, RESULT_PANELS[task]):
            _dots(ax, frame[(frame.task == task) & (frame.metric == metric)].set_index("method"))
            ax.set_title(f"{TASKS[task]}: {metric.replace('vendi', 'Vendi')}", fontweight="bold")
    handles = [
        Line2D([], [], color=COLOURS[FOLM], marker="o", label="ours, 0-100, with 95 % interval"),
        Line2D([], [], **HOLLOW, label="paper, on the grey upper axis (another judge, corpus and policy)"),
    ]
    figure.get_layout_engine().set(hspace=0.08)
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


@_figure(
    "latency.csv",
    alt=(
        "Upper panel: median seconds to fan out a batch of queries against batch size, both axes logarithmic, "
        "with bands between the quartiles, for R4T-FOLM and R4T-Diffusion: the fan-out alone, from the query's text, "
        "and with search. Lower panel: "
        "how many times longer R4T-FOLM takes."
    ),
)
def latency(frame):
    figure, axes = _axes(2, 1, 5.0, sharex=True, height_ratios=[2, 1])
    (upper,), (lower,) = axes
    dashes = {"fan-out": "-", "from text": (0, (1, 1.5)), "with search": DASHED}
    shown = frame[(frame.part != "from text") | (frame.path != FOLM)]  # the policy's fan-out starts at the text
    for (path, part), rows in shown.groupby(["path", "part"], sort=False):
        rows = rows.sort_values("batch")
        label = f"{path}, {part} ({rows.nfe.median():.0f} NFE)"
        upper.plot(
            rows.batch,
            rows["median"],
            color=COLOURS[path],
            linestyle=dashes[part],
            marker=MARKERS[path],
            markersize=4,
            label=label,
        )
        upper.fill_between(rows.batch, rows.q25, rows.q75, color=COLOURS[path], alpha=0.2, linewidth=0)
    wide = frame.pivot(index="batch", columns=["part", "path"], values="median")
    for part in (p for p in dashes if p in wide and {FOLM, DIFFUSION} <= set(wide[p])):
        lower.plot(
            wide.index,
            wide[part][FOLM] / wide[part][DIFFUSION],
            color="0.25",
            linestyle=dashes[part],
            marker=".",
            label=part,
        )
    batches = sorted(frame.batch.unique())
    upper.set(xscale="log", yscale="log", ylabel="seconds a batch")
    upper.set_xticks(batches, [str(b) for b in batches])
    upper.xaxis.set_minor_locator(NullLocator())
    lower.set(xlabel="queries in a batch", ylabel=f"{FOLM} /\n{DIFFUSION}")
    lower.set_ylim(0, 1.7 * lower.get_ylim()[1])  # room for the legend above the lines
    lower.legend(title="ratio of medians", title_fontsize=8, ncols=3, loc="upper left", handlelength=3.2)
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper center", ncols=2, handlelength=3.2)
    return figure
