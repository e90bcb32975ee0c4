"""Figures of what was found, as functions of their recorded data; a docstring is an alt text."""

from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from r4t_utils.evaluation.claims import CLAIMS, DIFFUSION, FOLM, FULL_SAMPLER, NO_FANOUT, NOISE, PRINTED, WITHOUT, Test
from r4t_utils.evaluation.looks import COLOURS, DASHED, KINDS, MARKERS, PALETTE, ROWS, TASKS, by_task, subplots
from r4t_utils.evaluation.verdicts import paper_differences

VERDICTS: dict[str, dict[str, Any]] = {
    "holds": {"color": PALETTE[2], "marker": "o"},
    "does not hold": {"color": PALETTE[3], "marker": "X"},
    "undecided": {"color": "0.45", "marker": "o", "fillstyle": "none"},
}
SHORT = {  # the claims in a few words
    "C1": "fan-out beats plain query",
    "C2": "best of five beats one",
    "C3": "tuning beats best of five",
    "C4": "retriever keeps quality",
    "C5": "tuning multiplies recall",
    "C6": "retriever varies more",
    "C7": "three terms are stable",
    "C8": "weights trade scores",
    "C9": "retriever is faster",
    "N1": "R4T beats noise",
    "N2": "R4T beats re-rankers",
    "N3": "more reward, better sets",
    "N4": "tuning beats zero-shot",
}
UNITS = {"difference": 100, "ratio": 1}  # in which a kind of test is drawn
DIAMOND: dict[str, Any] = {"color": "0.1", "marker": "D", "fillstyle": "none", "linestyle": "none"}
EDGE = 100  # where a larger ratio, or an infinite one, is drawn
RESULT_PANELS = {"oar": ("quality", "alignment", "diversity"), "wscr": ("recall", "hit", "vendi")}


def _dots(ax: Axes, rows: pd.DataFrame, by_itself: pd.DataFrame, names: list[str]) -> None:
    """One panel of `results`: a dot with its interval per method, a pale one below it where the query's own list takes
    no part, and a line where the plain query stands."""
    own: dict[str, Any] = {"markersize": 5, "capsize": 2}
    pale: dict[str, Any] = {"markersize": 3, "elinewidth": 0.8, "alpha": 0.6}
    for shown, down, look in ((rows, 0.0, own), (by_itself, 0.35, pale)):
        for method, r in shown.iterrows():
            look |= {"color": COLOURS[method], "marker": MARKERS[method], "linestyle": "none"}
            xerr = [[r["mean"] - r.low], [r.high - r["mean"]]]
            ax.errorbar(r["mean"], names.index(str(method)) + down, xerr=xerr, **look)
    if NO_FANOUT in rows.index:
        ax.axvline(rows.loc[NO_FANOUT, "mean"], color="0.6", linestyle=DASHED, linewidth=0.9, zorder=0)
    ax.margins(x=0.08)
    _rows_of(ax, names)
    ax.xaxis.set_major_locator(MaxNLocator(4))


def results(frame: pd.DataFrame) -> Figure:
    """Test scores of every method with 95 % intervals, 0 to 100, and below them, small and pale, those without the
    query's own list; a dashed line marks the plain query. Upper row, OAR: quality, and its two parts alignment and
    diversity; lower row, WSCR: recall, hit rate and Vendi score. The maximiser of the printed reward, far to the left
    of all, is left out. The numbers, and the paper's, are in metrics.csv."""
    frame = frame.loc[frame.method != PRINTED]
    by_itself = frame.assign(metric=frame.metric.str.removesuffix(WITHOUT)).loc[frame.metric.str.endswith(WITHOUT)]
    tasks = {task: rows.loc[rows.metric.isin(RESULT_PANELS[task])] for task, rows in by_task(frame).items()}
    names = {task: [method for method in ROWS if method in set(rows.method)] for task, rows in tasks.items()}
    heights = [len(found) + 3 for found in names.values()]
    figure, axes = subplots(len(tasks), 3, 0.2 * sum(heights) + 0.4, sharey="row", height_ratios=heights)
    for row, (task, scores) in zip(axes, tasks.items()):
        for ax, metric in zip(row, RESULT_PANELS[task]):
            pale = by_itself.loc[(by_itself.task == task) & (by_itself.metric == metric)]
            _dots(ax, scores.loc[scores.metric == metric].set_index("method"), pale.set_index("method"), names[task])
            ax.set_title(f"{TASKS[task]}: {metric.replace('vendi', 'Vendi')}", fontweight="bold")
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=kind)
        for kind, (colour, marker, _) in KINDS.items()
    ]
    handles += [_pale("by itself")] if len(by_itself) else []
    figure.legend(handles=handles, loc="outside lower center", ncols=3, handletextpad=0.1)
    return figure


def claims(rows: list[dict]) -> Figure:
    """The claims: what decides each of them, with its 95 % interval, over all seeds; under it, small and pale, the same
    where the query's own list takes no part. Above: differences in points of 100. Below: ratios, on a logarithmic axis.
    A mark is the verdict on its whole claim: a filled circle where it holds, that is, where all of its intervals lie to
    the right of the dashed lines, also after Holm's correction; a cross where it does not; a hollow circle where it is
    undecided. A diamond is what the paper's numbers give for one of its two policies, or an end of its range."""
    known = {test.name: test for claim in CLAIMS for test in claim.tests}
    parts = [
        (known[part["test"]], (row, part), (row.get("without_query"), other))
        for row in rows
        for part, other in zip_longest(_deciding(row), _deciding(row.get("without_query")))
    ]
    wide = {kind: [each for each in parts if each[0].kind == kind] for kind in UNITS}
    heights = [len(shown) + 1 for shown in wide.values()]
    figure, ((above,), (below,)) = subplots(2, 1, 0.2 * sum(heights) + 1.4, height_ratios=heights)
    for ax, shown in zip((above, below), wide.values()):
        for y, (test, (row, part), (other, its_part)) in enumerate(shown):
            _beside_paper(ax, y, test, row, part, markersize=5, capsize=2)
            if other and its_part:
                _verdict(ax, y + 0.33, test, other, its_part, markersize=3, elinewidth=0.8, alpha=0.6, zorder=3)
        _rows_of(ax, [f"{row['id']}  {test.label or test.score}" for test, (row, _), _ in shown])
    _axes_of_claims(above, below, (1, 2, 5, 10, 20, 50))
    looks = _looks()
    if any(other for _, _, (other, _) in parts):
        looks.append(_pale("small: without the query's own list"))
    figure.legend(handles=looks, loc="outside lower center", ncols=3, handletextpad=0.4)
    return figure


def claims_short(rows: list[dict]) -> Figure:
    """The claims, a line each: the intervals of what decides a claim (where that is three or more, of the one farthest
    to the left of its threshold), over all seeds, beside the paper's numbers (diamonds). Above: differences in points
    of 100; below: ratios, on a logarithmic axis. A mark is the verdict on its whole claim: a filled circle where it
    holds, a cross where it does not, a hollow circle where it is undecided; the pale marks are the same claim where the
    query's own list takes no part. To hold, all must lie to the right of the dashed line."""
    known = {test.name: test for claim in CLAIMS for test in claim.tests}
    rows = [row for row in rows if _deciding(row)]
    kinds = [known[_deciding(row)[0]["test"]].kind for row in rows]
    wide = {kind: [row for row, its in zip(rows, kinds) if its == kind] for kind in UNITS}
    heights = [len(shown) + 0.5 for shown in wide.values()]
    figure, ((above,), (below,)) = subplots(2, 1, 0.16 * sum(heights) + 0.8, height_ratios=heights)
    for ax, shown in zip((above, below), wide.values()):
        for y, row in enumerate(shown):
            for at, part in _spread(y, _few_or_lowest(_deciding(row))):
                _beside_paper(ax, at, known[part["test"]], row, part, markersize=4, elinewidth=1)
            if other := row.get("without_query"):
                for at, part in _spread(y + 0.3, _few_or_lowest(_deciding(other)), 0.25):
                    test = known[part["test"].replace(WITHOUT, "")]
                    _verdict(ax, at, test, other, part, markersize=3, elinewidth=0.6, alpha=0.5, zorder=3)
        _rows_of(ax, [f"{SHORT[row['id']]}  {row['id']}" for row in shown])
    _axes_of_claims(above, below, (1, 2, 5, 10, 20))
    looks = [*_looks(), *([_pale("pale: by itself")] if any(row.get("without_query") for row in rows) else [])]
    figure.legend(handles=looks, loc="outside lower center", ncols=6, handletextpad=0.2, columnspacing=1)
    return figure


def _looks() -> list[Line2D]:
    """What a legend of claims explains."""
    looks = [
        Line2D([], [], label=f"claim {name}", linestyle="none", markersize=5, **look) for name, look in VERDICTS.items()
    ]
    looks.append(Line2D([], [], **DIAMOND, markersize=4, label="paper"))
    return [*looks, Line2D([], [], color="0.2", linestyle=DASHED, linewidth=1, label="to hold: right of it")]


def _pale(label: str) -> Line2D:
    """The mark of a claim without the query's own list, for a legend."""
    pale = {"color": "0.45", "marker": "o", "markersize": 3, "fillstyle": "none", "linewidth": 0.8, "alpha": 0.6}
    return Line2D([], [], label=label, **pale)


def _few_or_lowest(parts: list[dict]) -> list[dict]:
    """The parts, or of three or more the one that lies lowest beside its threshold."""
    return parts if len(parts) < 3 else [min(parts, key=lambda part: part["mean"] - part["threshold"])]


def _deciding(row: dict | None) -> list[dict]:
    return [part for part in row["parts"] if part["decides"]] if row else []


def _spread(y: float, parts: list[dict], height: float = 0.5) -> list[tuple[float, dict]]:
    """The parts of a claim, each at a height of its own around y."""
    return [(y + (i - (len(parts) - 1) / 2) * height / len(parts), part) for i, part in enumerate(parts)]


def _verdict(ax: Axes, y: float, test: Test, row: dict, part: dict, **style: Any) -> None:
    """A test's interval, in the look of its claim's verdict."""
    ends = (part[key] for key in ("mean", "low", "high"))
    mean, low, high = (EDGE if end is None else min(UNITS[test.kind] * end, EDGE) for end in ends)
    look = VERDICTS.get(row["verdict"], VERDICTS["undecided"])
    ax.errorbar(mean, y, xerr=[[mean - low], [high - mean]], linestyle="none", **look, **style)


def _beside_paper(ax: Axes, y: float, test: Test, row: dict, part: dict, markersize: int, **style: Any) -> None:
    """The same, with what the paper's numbers give and, over the whole of its row, the threshold."""
    _verdict(ax, y, test, row, part, markersize=markersize, zorder=4, **style)
    threshold = min(UNITS[test.kind] * part["threshold"], EDGE)
    ax.plot([threshold] * 2, [round(y) - 0.5, round(y) + 0.5], color="0.2", linestyle=DASHED, linewidth=1, zorder=1)
    paper = paper_differences(test)
    ax.plot(paper, [y] * len(paper), markersize=markersize - 1, **DIAMOND)


def _rows_of(ax: Axes, names: list[str]) -> None:
    """Names the rows of a forest plot, the first on top."""
    ax.set(ylim=(len(names) - 0.4, -0.6), yticks=range(len(names)), yticklabels=names)
    ax.grid(axis="y", visible=False)


def _axes_of_claims(differences: Axes, ratios: Axes, marks: tuple[int, ...]) -> None:
    differences.set_xlabel("difference, points of 100", labelpad=1)
    ratios.set_xlabel("ratio", labelpad=1)
    ratios.set(xscale="log", xticks=marks, xticklabels=marks)
    ratios.xaxis.set_minor_locator(NullLocator())


def ladder(frame: pd.DataFrame, losses: pd.DataFrame) -> Figure:
    """The ladder of answers, from the plain query at the bottom to the labels' choice in the whole database at the top.
    Left: quality in the judge's eyes, with 95 % intervals. Hollow: a rung that answers fewer queries, whose quality is
    that of the rung below it plus their paired difference, with the interval of that difference. Right: the reward of
    the same results, each as its own sub-query, where all queries were answered. The numbers are in ladder.csv and
    losses.csv."""
    figure, ((left, right),) = subplots(1, 2, 0.3 * len(frame) + 0.8, sharey=True)
    rows = range(len(frame))
    part = frame.n < frame.n.max()
    frame = _climbed(frame.assign(reward=frame.reward.mask(part)), losses)
    bars = [frame.quality - frame.low, frame.high - frame.quality]
    left.errorbar(frame.quality, rows, xerr=bars, color=PALETTE[0], linestyle="none", capsize=2)
    for ax, column, colour in ((left, "quality", PALETTE[0]), (right, "reward", PALETTE[3])):
        ax.scatter(
            frame[column], rows, s=26, edgecolor=colour, facecolor=["white" if p else colour for p in part], zorder=3
        )
        ax.grid(axis="y", visible=False)
    left.set(yticks=list(rows), yticklabels=frame.rung, xlabel="judge: quality, times 100")
    right.set(xlabel="reward of the results, times 100")
    return figure


def _climbed(frame: pd.DataFrame, losses: pd.DataFrame) -> pd.DataFrame:
    """The rungs, those that answer fewer queries placed by their step from the rung below."""
    placed = frame.set_index("rung")
    few = {rung for rung, n in placed.n.items() if n < placed.n.max()}
    for step in losses.iloc[::-1].to_dict("records"):  # from the lowest
        if step["better"] in few and step["worse"] in placed.index:
            gained = np.array([step["mean"], step["low"], step["high"]])
            placed.loc[step["better"], ["quality", "low", "high"]] = placed.at[step["worse"], "quality"] + gained
    return placed.reset_index()


def best_of(frame: pd.DataFrame) -> Figure:
    """How many samples tuning is worth: the best of 1 to 64 fan-outs by reward against the tokens sampled for a query,
    on a logarithmic axis, of the zero-shot and of the tuned policy; means over validation queries and seeds, with a
    band from the lowest to the highest seed. Left: the reward. Right: the judge's quality of the fan-out alone, and
    merged with the plain query's own list. The numbers are in best_of.csv."""
    figure, axes = subplots(1, 3, 2.5)
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
    """Upper panel: median seconds to answer a batch of queries against batch size, both axes logarithmic, with bands
    between the quartiles, for R4T-FOLM and R4T-Diffusion: the fan-out alone, from the query's text, and with search; in
    grey, with search, MMR and noise; a cross marks R4T-Diffusion with the paper's sampler. Lower panel: how many times
    longer R4T-FOLM takes than R4T-Diffusion."""
    seconds = frame.groupby(["path", "part", "batch", "nfe"], sort=False)["seconds"]
    quartiles = {name: seconds.quantile(q) for name, q in (("median", 0.5), ("q25", 0.25), ("q75", 0.75))}
    frame = pd.DataFrame(quartiles).reset_index()
    full = frame.loc[(frame.part == FULL_SAMPLER) & (frame.path == DIFFUSION)]
    frame = frame.loc[frame.part != FULL_SAMPLER]
    figure, ((upper,), (lower,)) = subplots(2, 1, 5.0, sharex=True, height_ratios=[2, 1])
    dashes = {"fan-out": "-", "from text": (0, (1, 1.5)), "with search": DASHED}
    frame = frame.loc[frame.part.isin(dashes)]
    shown = frame.loc[(frame.part != "from text") | (frame.path != FOLM)]  # the policy's fan-out starts at the text
    for _, rows in shown.groupby(["path", "part"], sort=False):
        rows, path, part = rows.sort_values("batch"), rows.path.iloc[0], rows.part.iloc[0]
        look = {"color": COLOURS[path], "linestyle": dashes[part], "markersize": 4}
        look["marker"] = "P" if path == NOISE else MARKERS[path]  # of one kind with MMR, yet a line of its own
        evaluations = f"{'at most ' * (path == FOLM)}{rows.nfe.median():.0f} NFE"
        upper.plot(rows.batch, rows["median"], label=f"{path}, {part} ({evaluations})", **look)
        upper.fill_between(rows.batch, rows.q25, rows.q75, color=COLOURS[path], alpha=0.2, linewidth=0)
    for row in full.itertuples():
        mark = {"color": COLOURS[DIFFUSION], "marker": "X", "linestyle": "none", "markersize": 7}
        upper.plot(row.batch, row.median, label=f"{row.path}, {row.part} ({row.nfe:.0f} NFE)", **mark)
    wide = frame.pivot(index="batch", columns=["part", "path"], values="median")
    for part in (p for p in dashes if p in wide and {FOLM, DIFFUSION} <= set(wide[p])):
        ratio = wide[part][FOLM] / wide[part][DIFFUSION]
        lower.plot(wide.index, ratio, color="0.25", linestyle=dashes[part], marker=".", label=part)
    batches = sorted(frame.batch.unique())
    upper.set(xscale="log", yscale="log", xticks=batches, xticklabels=batches, ylabel="seconds per batch")
    upper.xaxis.set_minor_locator(NullLocator())
    lower.set(xlabel="queries in a batch", ylabel=f"{FOLM} /\n{DIFFUSION}")
    lower.set_ylim(0, 1.7 * lower.get_ylim()[1])  # room for the legend above the lines
    lower.legend(title="ratio of medians", title_fontsize=8, ncols=3, loc="upper left", handlelength=3.2)
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper center", ncols=2, handlelength=3.2)
    return figure
