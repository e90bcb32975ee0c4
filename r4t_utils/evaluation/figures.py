"""Every figure as a function of the data frames of its CSV files. The docstring of a figure is its alt text.

A method keeps one colour and one marker throughout, a task one colour. `drawing` gives the style, reads and saves.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from r4t_utils.evaluation.claims import (
    BEST_OF_5,
    BEST_OF_5_FOLM,
    CLAIMS,
    DIFFUSION,
    DPP,
    FOLM,
    FULL_SAMPLER,
    FUSED,
    MAXIMISER,
    MMR,
    MSD,
    NEAREST,
    NO_FANOUT,
    NOISE,
    PRINTED,
    QUERY_WORDS,
    QUERY_ZERO_SHOT,
    XQUAD,
    ZERO_SHOT,
)
from r4t_utils.evaluation.verdicts import paper_differences

DASHED = (0, (4, 2))
_palette = sns.color_palette("colorblind").as_hex()
# The rows of `results` from top to bottom; a kind of method shares a colour, and R4T's two have one each.
KINDS = {
    "no training": ("0.35", "v", (NO_FANOUT, NOISE, MMR, MSD, DPP, XQUAD, QUERY_WORDS, QUERY_ZERO_SHOT, NEAREST)),
    "zero-shot policy": (_palette[4], "s", (ZERO_SHOT, FUSED, BEST_OF_5)),
    "tuned policy": (_palette[0], "o", (FOLM, BEST_OF_5_FOLM)),
    "diffusion retriever": (_palette[3], "D", (DIFFUSION,)),
    "reads the database": (_palette[2], "^", (MAXIMISER, PRINTED)),
}
ROWS = [method for _, _, methods in KINDS.values() for method in methods]
COLOURS = {method: colour for colour, _, methods in KINDS.values() for method in methods}
MARKERS = {method: marker for _, marker, methods in KINDS.values() for method in methods}
TASKS = {"oar": "OAR", "wscr": "WSCR"}
TASK_COLOURS = {"oar": _palette[5], "wscr": _palette[9]}
VERDICTS = {
    "holds": {"color": _palette[2], "marker": "o"},
    "does not hold": {"color": _palette[3], "marker": "X"},
    "undecided": {"color": "0.45", "marker": "o", "fillstyle": "none"},
}
RESULT_PANELS = {"oar": ("quality", "alignment", "diversity"), "wscr": ("recall", "hit", "vendi")}


def _axes(rows: int, columns: int, height: float, **kwargs) -> tuple[Figure, np.ndarray]:
    """A figure without pyplot, so that nothing is shown twice or kept between cells, and its axes (rows, columns)."""
    figure = Figure(figsize=(7, height), layout="constrained")  # inches
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def _by_task(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each task that the frame holds, in the order of `TASKS`."""
    return {task: frame.loc[frame.task == task] for task in TASKS if task in set(frame.task)}


def _curve(ax: Axes, rows: pd.DataFrame, column: str, ticks: int) -> None:
    """One task's column over the steps, in the task's colour."""
    ax.plot(rows.step, rows[column], color=TASK_COLOURS[rows.task.iloc[0]])
    ax.xaxis.set_major_locator(MaxNLocator(ticks, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(5))


def encoder_prefixes(frame: pd.DataFrame) -> Figure:
    """Recall at 10 of the encoder for its prefixes of the embedding, one line a kind of query, with 95 % intervals:
    how much of the retrieval quality each shorter prefix keeps."""
    figure, ((ax,),) = _axes(1, 1, 2.7)
    for i, (query, rows) in enumerate(frame.groupby("query", sort=False)):
        bars = np.abs(rows[["low", "high"]].T.to_numpy() - rows.recall_at_10.to_numpy())
        look = {"color": _palette[i], "marker": "os^Dv"[i % 5], "markersize": 5, "capsize": 2}
        ax.errorbar(rows.prefix, rows.recall_at_10, bars, label=query, **look)
    kept = sorted(frame.prefix.unique())
    ax.set_xscale("log", base=2)
    ax.set(xticks=kept, xticklabels=kept, xlabel="dimensions kept (prefix of the unit vector)", ylabel="recall@10")
    ax.legend(title="query", loc="center left", title_fontsize=8)
    return figure


def rl_curves(frame: pd.DataFrame) -> Figure:
    """RL training, a row of panels for each task, over update steps: mean reward with a band of one standard
    deviation, entropy of the policy, share of clipped tokens, and share of well-formed fan-outs."""
    tasks = _by_task(frame.sort_values("step"))
    figure, axes = _axes(len(tasks), 4, 1.75 * len(tasks) + 0.3, sharex="row")
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
    of the representatives) and alignment with the query."""
    figure, axes = _axes(1, 3, 2.1, sharex=True)
    titles = {"ground": "groundedness (Eq. 3)", "div": "diversity: Vendi (Eq. 2)", "align": "alignment (Eq. 4)"}
    curve = _by_task(frame)["oar"].sort_values("step")
    for ax, (column, title) in zip(axes[0], titles.items()):
        _curve(ax, curve, column, 5)
        ax.set_title(title)
    figure.supxlabel("update step", fontsize=9)
    return figure


def diffusion_loss(loss: pd.DataFrame, by_sigma: pd.DataFrame) -> Figure:
    """Left: training loss of the set-diffusion model over steps, one line a task. Right: its loss at each noise level
    sigma, on a logarithmic axis, for several moments of training (pale: early)."""
    tasks = _by_task(by_sigma)
    figure, axes = _axes(1, 1 + len(tasks), 2.6)
    ax, *right = axes[0]
    for task, rows in _by_task(loss).items():
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
    """Samples over diffusion training, one line a task. Left: mean distance of a generated row to its nearest content.
    Right: Vendi score of a generated set. Dashed lines: the same for the training targets."""
    tasks = _by_task(frame.sort_values("step"))
    figure, axes = _axes(1, 2, 2.6)
    dots = {"marker": "o", "markersize": 3.5}
    titles = {"distance": "distance of a row to the database", "vendi": "Vendi score of a set"}
    for ax, (column, title) in zip(axes[0], titles.items()):
        for task, rows in tasks.items():
            ax.plot(rows.step, rows[column], color=TASK_COLOURS[task], **dots)
            ax.axhline(rows[f"data_{column}"].iloc[-1], color=TASK_COLOURS[task], linestyle=DASHED, lw=1)
        ax.set(title=title, xlabel="training step", ylim=(0, None))
    handles = [Line2D([], [], color=TASK_COLOURS[task], label=TASKS[task], **dots) for task in tasks]
    handles.append(Line2D([], [], color="0.45", linestyle=DASHED, linewidth=1, label="training targets"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _dots(ax: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    """One panel of `results`: a dot with its interval per method, and a line where the plain query stands."""
    for method, r in rows.iterrows():
        look = {"color": COLOURS[method], "marker": MARKERS[method], "markersize": 5, "capsize": 2, "linestyle": "none"}
        ax.errorbar(r["mean"], names.index(str(method)), xerr=[[r["mean"] - r.low], [r.high - r["mean"]]], **look)
    if NO_FANOUT in rows.index:
        ax.axvline(rows.loc[NO_FANOUT, "mean"], color="0.6", linestyle=DASHED, linewidth=0.9, zorder=0)
    ax.margins(x=0.08)
    ax.set(ylim=(len(names) - 0.4, -0.6), yticks=range(len(names)), yticklabels=names)
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_locator(MaxNLocator(4))


def results(frame: pd.DataFrame) -> Figure:
    """Test scores of every method with 95 % intervals, 0 to 100; a dashed line marks the plain query. Upper row, OAR:
    quality, and its two parts alignment and diversity; lower row, WSCR: recall, hit rate and Vendi score. The numbers,
    and the paper's, are in metrics.csv."""
    tasks = {task: rows.loc[rows.metric.isin(RESULT_PANELS[task])] for task, rows in _by_task(frame).items()}
    names = {task: [method for method in ROWS if method in set(rows.method)] for task, rows in tasks.items()}
    heights = [len(found) + 3 for found in names.values()]
    figure, axes = _axes(len(tasks), 3, 0.2 * sum(heights) + 0.4, sharey="row", height_ratios=heights)
    for row, (task, scores) in zip(axes, tasks.items()):
        for ax, metric in zip(row, RESULT_PANELS[task]):
            _dots(ax, scores.loc[scores.metric == metric].set_index("method"), names[task])
            ax.set_title(f"{TASKS[task]}: {metric.replace('vendi', 'Vendi')}", fontweight="bold")
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=kind)
        for kind, (colour, marker, _) in KINDS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, handletextpad=0.1)
    return figure


def claims(rows: list[dict]) -> Figure:
    """The claims: what decides each of them, with its 95 % interval, over all seeds. Above: differences in points of
    100. Below: ratios, on a logarithmic axis. A filled circle holds, a cross does not, a hollow circle is undecided; a
    diamond is what the paper's numbers give for one of its two policies. To hold, an interval has to lie to the right
    of the dashed line, which is at nothing gained where no threshold is given."""
    known = {test.name: test for claim in CLAIMS for test in claim.tests}
    parts = [(row, known[part["test"]], part) for row in rows for part in row["parts"] if part["decides"]]
    wide = {kind: [each for each in parts if each[1].kind == kind] for kind in ("difference", "ratio")}
    heights = [len(shown) + 1 for shown in wide.values()]
    figure, ((above,), (below,)) = _axes(2, 1, 0.17 * sum(heights) + 1.3, height_ratios=heights)
    for ax, (kind, shown) in zip((above, below), wide.items()):
        scale = 100 if kind == "difference" else 1
        for i, (row, test, part) in enumerate(shown):
            mean, low, high, threshold = (scale * part[key] for key in ("mean", "low", "high", "threshold"))
            look = VERDICTS.get(row["verdict"], VERDICTS["undecided"])
            ax.errorbar(mean, i, xerr=[[mean - low], [high - mean]], markersize=5, capsize=2, linestyle="none", **look)
            ax.plot([threshold] * 2, [i - 0.5, i + 0.5], color="0.45", linestyle=DASHED, linewidth=1, zorder=0)
            paper = paper_differences(test)
            ax.plot(paper, [i] * len(paper), color="0.1", marker="D", markersize=4, fillstyle="none", linestyle="none")
        names = [f"{row['id']}  {test.label or test.score}" for row, test, _ in shown]
        ax.set(ylim=(len(shown) - 0.4, -0.6), yticks=range(len(shown)), yticklabels=names)
        ax.grid(axis="y", visible=False)
    above.set_xlabel("difference, points of 100")
    marks = 1, 2, 5, 10, 20, 50
    below.set(xlabel="ratio", xscale="log", xticks=marks, xticklabels=marks, xlim=(0.75, 60))
    below.xaxis.set_minor_locator(NullLocator())
    looks = [Line2D([], [], label=name, linestyle="none", markersize=5, **look) for name, look in VERDICTS.items()]
    looks.append(
        Line2D([], [], color="0.1", marker="D", markersize=4, fillstyle="none", linestyle="none", label="paper")
    )
    figure.legend(handles=looks, loc="outside lower center", ncols=4, handletextpad=0.1)
    return figure


def ladder(frame: pd.DataFrame) -> Figure:
    """The ladder of answers, from the plain query at the bottom to the labels' choice in the whole database at the top.
    Left: quality in the judge's eyes, with 95 % intervals. Right: the reward of the same results, each as its own
    sub-query. A rung that answers fewer queries is hollow. The numbers are in ladder.csv."""
    figure, ((left, right),) = _axes(1, 2, 0.3 * len(frame) + 0.8, sharey=True)
    rows = range(len(frame))
    part = frame.n < frame.n.max()
    bars = [frame.quality - frame.low, frame.high - frame.quality]
    left.errorbar(frame.quality, rows, xerr=bars, color=_palette[0], linestyle="none", capsize=2)
    for ax, column, colour in ((left, "quality", _palette[0]), (right, "reward", _palette[3])):
        ax.scatter(
            frame[column], rows, s=26, edgecolor=colour, facecolor=["white" if p else colour for p in part], zorder=3
        )
        ax.grid(axis="y", visible=False)
    left.set(yticks=list(rows), yticklabels=frame.rung, xlabel="judge: mean of alignment and subtopic recall")
    right.set(xlabel="reward of the results, times 100")
    return figure


def ablations(frame: pd.DataFrame) -> Figure:
    """What each part of the reward does: policies over training, means over fixed validation queries and seeds, with a
    band from the lowest to the highest seed. Columns: groundedness, diversity (Vendi / k) and alignment, the terms of
    the reward; the share of nearest contents that differ; and the judge's quality. Rows: which terms are rewarded, by
    which weights, of which policy, on which scale. The numbers are in ablations.csv."""
    panels = {"ground": "groundedness", "div": "diversity", "align": "alignment", "contents": "different contents"}
    panels |= {"quality": "judge: quality"}
    questions = dict.fromkeys(q for each in frame.questions.unique() for q in each.split(", "))
    figure = Figure(figsize=(7, 2.2 * len(questions)), layout="constrained")
    for part, question in zip(figure.subfigures(len(questions), 1, squeeze=False)[:, 0], questions):
        own = frame[[question in each.split(", ") for each in frame.questions]]
        axes = part.subplots(1, len(panels))
        for colour, (variant, lines) in zip(_palette, own.groupby("variant", sort=False)):
            for ax, (column, title) in zip(axes, panels.items()):
                seeds = lines.pivot(index="step", columns="seed", values=column)
                ax.plot(seeds.index, seeds.mean(axis=1), color=colour, label=variant)
                ax.fill_between(seeds.index, seeds.min(axis=1), seeds.max(axis=1), color=colour, alpha=0.2, linewidth=0)
                ax.set_title(title, fontsize=8)
                ax.tick_params(labelsize=7)
                ax.yaxis.set_major_locator(MaxNLocator(4))
        axes[0].set_ylabel(question, fontweight="bold")
        part.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    figure.supxlabel("update step", fontsize=9)
    return figure


def best_of(frame: pd.DataFrame) -> Figure:
    """How many samples tuning is worth: the best of 1 to 64 fan-outs by reward against the tokens sampled for a query,
    on a logarithmic axis, of the zero-shot and of the tuned policy; means over validation queries and seeds, with a
    band from the lowest to the highest seed. Left: the reward. Right: the judge's quality of the fan-out alone, and
    merged with the plain query's own list. The numbers are in best_of.csv."""
    figure, axes = _axes(1, 3, 2.5)
    panels = {"reward": "reward", "quality": "judge: quality", "merged": "judge: quality, merged"}
    for ax, (column, title) in zip(axes[0], panels.items()):
        for policy, rows in frame.groupby("policy", sort=False):
            seeds = rows.pivot(index="n", columns="seed", values=column)
            tokens = rows.groupby("n")["tokens"].mean()
            look = {
                "color": COLOURS[policy],
                "marker": MARKERS[policy],
                "markersize": 4,
                "label": f"{policy}, best of N",
            }
            ax.plot(tokens, seeds.mean(axis=1), **look)
            ax.fill_between(tokens, seeds.min(axis=1), seeds.max(axis=1), color=COLOURS[policy], alpha=0.2, linewidth=0)
        ax.set(title=title, xscale="log", xlabel="tokens sampled for a query")
        ax.xaxis.set_minor_locator(NullLocator())
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def latency(frame: pd.DataFrame) -> Figure:
    """Upper panel: median seconds to fan out a batch of queries against batch size, both axes logarithmic, with bands
    between the quartiles, for R4T-FOLM and R4T-Diffusion: the fan-out alone, from the query's text, and with search; a
    cross marks R4T-Diffusion with the paper's sampler. Lower panel: how many times longer R4T-FOLM takes."""
    seconds = frame.groupby(["path", "part", "batch", "nfe"], sort=False)["seconds"]
    quartiles = {name: seconds.quantile(q) for name, q in (("median", 0.5), ("q25", 0.25), ("q75", 0.75))}
    frame = pd.DataFrame(quartiles).reset_index()
    full = frame.loc[(frame.part == FULL_SAMPLER) & (frame.path == DIFFUSION)]
    frame = frame.loc[frame.part != FULL_SAMPLER]
    figure, ((upper,), (lower,)) = _axes(2, 1, 5.0, sharex=True, height_ratios=[2, 1])
    dashes = {"fan-out": "-", "from text": (0, (1, 1.5)), "with search": DASHED}
    shown = frame.loc[(frame.part != "from text") | (frame.path != FOLM)]  # the policy's fan-out starts at the text
    for _, rows in shown.groupby(["path", "part"], sort=False):
        rows, path, part = rows.sort_values("batch"), rows.path.iloc[0], rows.part.iloc[0]
        look = {"color": COLOURS[path], "linestyle": dashes[part], "marker": MARKERS[path], "markersize": 4}
        upper.plot(rows.batch, rows["median"], label=f"{path}, {part} ({rows.nfe.median():.0f} NFE)", **look)
        upper.fill_between(rows.batch, rows.q25, rows.q75, color=COLOURS[path], alpha=0.2, linewidth=0)
    for row in full.itertuples():
        mark = {"color": COLOURS[DIFFUSION], "marker": "X", "linestyle": "none", "markersize": 7}
        upper.plot(row.batch, row.median, label=f"{row.path}, {row.part} ({row.nfe:.0f} NFE)", **mark)
    wide = frame.pivot(index="batch", columns=["part", "path"], values="median")
    for part in (p for p in dashes if p in wide and {FOLM, DIFFUSION} <= set(wide[p])):
        ratio = wide[part][FOLM] / wide[part][DIFFUSION]
        lower.plot(wide.index, ratio, color="0.25", linestyle=dashes[part], marker=".", label=part)
    batches = sorted(frame.batch.unique())
    upper.set(xscale="log", yscale="log", xticks=batches, xticklabels=batches, ylabel="seconds a batch")
    upper.xaxis.set_minor_locator(NullLocator())
    lower.set(xlabel="queries in a batch", ylabel=f"{FOLM} /\n{DIFFUSION}")
    lower.set_ylim(0, 1.7 * lower.get_ylim()[1])  # room for the legend above the lines
    lower.legend(title="ratio of medians", title_fontsize=8, ncols=3, loc="upper left", handlelength=3.2)
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper center", ncols=2, handlelength=3.2)
    return figure
