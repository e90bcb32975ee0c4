"""Figures of single examples, as functions of the tables that `showcase` makes; a docstring is an alt text."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from r4t_utils.evaluation import glyphs
from r4t_utils.evaluation.claims import FOLM, ZERO_SHOT
from r4t_utils.evaluation.looks import PALETTE, subplots
from r4t_utils.evaluation.showcase import CONTENTS, REQUEST

HUES = [*PALETTE[:7], *PALETTE[8:]]  # without the grey, which says off topic
MARKS = {1: ("✓", PALETTE[2]), 0: ("✗", PALETTE[3]), -1: ("", "0.6")}  # on topic, off topic, not known
NEUTRAL, PALE = "0.85", 0.45
ACROSS = 10  # tiles in a row of outfits; half as many text cards


def _canvas(height: float) -> tuple[Figure, Axes]:
    """A figure of 7 inches with one axis in inches, from the upper left corner, and nothing drawn."""
    figure = Figure(figsize=(7, height))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 7), ylim=(height, 0))
    ax.axis("off")
    return figure, ax


def _drawable(text: str) -> str:
    """The text without characters that the font lacks, such as emoji, which would be drawn as boxes."""
    font = get_font(findfont("DejaVu Sans"))
    return " ".join("".join(c for c in text if c.isspace() or font.get_char_index(ord(c))).split())


def _short(text: str, width: int) -> str:
    return textwrap.shorten(_drawable(text), width, placeholder=" …")


def _lines(text: str, width: int, lines: int) -> str:
    """The text in so many lines at most, the last cut where it does not fit."""
    return "\n".join(textwrap.wrap(_drawable(text), width, max_lines=lines, placeholder=" …"))


def _pieces(ax: Axes, x: float, y: float, width: float, pieces: str, columns: int, lines: int) -> None:
    """An outfit's first pieces, in lines of so many columns, each a square of this width."""
    for i, piece in enumerate(pieces.split("; ")[: lines * columns]):
        category, colour, pattern = piece.split(", ")
        glyphs.draw(ax, x + width * (i % columns), y + width * (i // columns), width, category, colour, pattern)


def hero(frame: pd.DataFrame) -> Figure:
    """One test request, the median by what R4T-FOLM gains on the plain query of those for which one of the two finds
    anything: ten sub-queries before tuning, on the left, and after, on the right, each with what it finds first (an
    outfit's pieces in their colours, or a text) and a mark: a tick where that is on topic, a cross where it is not."""
    shown = frame.loc[(frame.rule == "median") & (frame.view == "sub-queries")].fillna("")
    k = shown["rank"].max()
    figure, ax = _canvas(0.51 + 0.21 * k)  # low, so that the README's first screen holds it
    asked = _drawable(shown["query"].iloc[0])
    ax.text(0.1, 0.16, f"“{asked}”", fontsize=min(11, 700 / len(asked)), fontweight="bold", va="center")
    for x, method, heading in ((0.1, ZERO_SHOT, "before tuning"), (3.6, FOLM, "after tuning")):
        ax.text(x, 0.38, heading, fontsize=8, fontweight="bold", va="center", color="0.35")
        for row in shown.loc[shown.method == method].itertuples():
            y = 0.4 + 0.21 * row.rank
            mark, colour = MARKS[row.on_topic]
            size = max(5.5, min(7, 225 / len(row.asked)))  # so that the text is no wider than its column
            ax.text(x, y, _lines(row.asked, 40, 2), fontsize=size, color=PALETTE[0], va="center", linespacing=1)
            if row.pieces:
                _pieces(ax, x + 1.9, y - 0.1, 0.19, row.pieces, 7, 1)
            else:
                ax.text(x + 1.9, y, _lines(row.title, 32, 2), fontsize=5, va="center", linespacing=1)
            ax.text(x + 3.3, y, mark, fontsize=9, color=colour, va="center", ha="center", fontweight="bold")
    return figure


def examples(frame: pd.DataFrame) -> Figure:
    """The answers of several methods to three test requests, after the paper's Figures 3 and 6: where R4T-FOLM gains
    most quality on the plain query, the median, and where it loses most. A row holds the ten results of a method, best
    first, as outfits of small pieces in their colours and patterns, or as text cards; a green frame with a tick is on
    topic, an orange one with a cross is not."""
    shown = frame.loc[frame.view == "set"].fillna("")
    worn = bool(shown.pieces.any())
    across, height = (ACROSS, 0.4) if worn else (ACROSS // 2, 0.46)
    lines = -(-shown["rank"].max() // across)
    rows = shown.drop_duplicates(["rule", "method"])
    figure, ax = _canvas(0.3 * shown.rule.nunique() + (lines * height + 0.06) * len(rows) + 0.05)
    left, width, y = 1.0, 5.95 / across, 0.0
    for rule, of_query in shown.groupby("rule", sort=False):
        title = f"“{_short(of_query['query'].iloc[0], 80)}”"
        ax.text(0.05, y + 0.18, title, fontsize=9, fontweight="bold", va="center")
        ax.text(6.95, y + 0.18, f"{rule} ({of_query.gain.iloc[0]:+.0f})", fontsize=7, va="center", ha="right")
        y += 0.3
        for method, answer in of_query.groupby("method", sort=False):
            ax.text(0.05, y + lines * height / 2, str(method), fontsize=7.5, va="center")
            for row in answer.itertuples():
                line, column = divmod(row.rank - 1, across)
                _tile(ax, left + column * width, y + line * height, width, height, row)
            y += lines * height + 0.06
    return figure


def _tile(ax: Axes, x: float, y: float, width: float, height: float, row) -> None:
    """One result in a frame that says whether it is on topic."""
    mark, colour = MARKS[row.on_topic]
    box = Rectangle((x + 0.02, y + 0.02), width - 0.04, height - 0.04, facecolor="white", edgecolor=colour, linewidth=1)
    ax.add_patch(box)
    if row.pieces:
        _pieces(ax, x + 0.03, y + 0.04, (height - 0.08) / 2, row.pieces, 3, 2)
    else:
        ax.text(x + 0.05, y + 0.05, _lines(row.title, round(21 * width), 3), fontsize=5, va="top")
    ax.text(x + width - 0.03, y + height - 0.03, mark, fontsize=6, color=colour, ha="right", va="bottom")


def group(frame: pd.DataFrame) -> Figure:
    """One group of fan-outs for one query, the best by reward at the top. Left: the advantage of each, to the right of
    zero where the fan-out is reinforced and to the left where it is made rarer. Beside it its reward, and its different
    sub-queries. The numbers are in group.csv."""
    rows = frame.reset_index(drop=True)
    figure, ((left, right),) = subplots(1, 2, 0.46 * len(rows) + 0.7, width_ratios=(1, 2.6), sharey=True)
    colours = [PALETTE[0] if advantage > 0 else PALETTE[3] for advantage in rows.advantage]
    left.barh(rows.index, rows.advantage, color=colours, height=0.6)
    left.axvline(0, color="0.4", linewidth=0.8)
    names = [f"{reward:.2f}" for reward in rows.reward]
    left.set(yticks=rows.index, yticklabels=names, xlabel="advantage A (Eq. 6)", ylabel="reward r")
    left.grid(axis="y", visible=False)
    left.invert_yaxis()
    right.axis("off")
    for i, said in enumerate(rows.sub_queries):
        right.text(0, i, _lines(str(said), 105, 4), fontsize=6, va="center")
    figure.suptitle(f"“{_drawable(rows['query'].iloc[0])}”", fontsize=9, fontweight="bold")
    return figure


def pair(frame: pd.DataFrame) -> Figure:
    """A training query (star), the contents nearest to it (grey), and two of its targets Z, in the plane of the two
    main axes: every dot of a colour is a row of one set, a direction to search in. The row farthest from the query is
    ringed, and the content that it finds first is named below."""
    figure, ((ax,),) = subplots(1, 1, 3.9)
    _scene(ax, frame)
    centre = frame.loc[frame.kind == "query", ["x", "y"]].iloc[0]
    sets = [kind for kind in frame.kind.unique() if str(kind).startswith("set")][:2]
    for kind, colour, marker in zip(sets, PALETTE, "os"):
        rows = frame.loc[frame.kind == kind]
        ax.scatter(rows.x, rows.y, s=34, color=colour, marker=marker, edgecolor="white", label=f"Z, {kind}", zorder=3)
    rows = frame.loc[frame.kind.isin(sets)]
    far = rows.loc[((rows[["x", "y"]] - centre) ** 2).sum(axis=1).idxmax()]
    ax.scatter(far.x, far.y, s=130, facecolor="none", edgecolor="0.15", linewidth=1, label="farthest row", zorder=3)
    ax.set_xlabel(_lines(f"The farthest row finds “{far.finds}”", 120, 4), fontsize=6.5)
    figure.legend(loc="outside upper center", ncols=5, columnspacing=1)
    return figure


def _scene(ax: Axes, frame: pd.DataFrame) -> None:
    """The contents and the query of a plane, without numbers on the axes, which mean nothing."""
    for kind, look in (("content", {"s": 7, "color": NEUTRAL}), ("query", {"s": 110, "color": "0.15", "marker": "*"})):
        rows = frame.loc[frame.kind == kind]
        ax.scatter(rows.x, rows.y, label={"content": "contents", "query": "z_q"}[kind], zorder=2, **look)
    ax.set(xticks=[], yticks=[])


def denoising(frame: pd.DataFrame) -> Figure:
    """Noise becoming a set, for one validation query (star) among the contents nearest to it (grey): a column for each
    evaluation of the network, from the most noise to the least. Hollow: the noisy rows, drawn at unit length. Filled:
    what the denoiser makes of them; those of the last column are the answer. Lower row: the surroundings of the answer,
    enlarged alike in every column."""
    panels = [sigma for sigma in frame.sigma.unique() if sigma >= 0]
    picked = [panels[i] for i in np.unique(np.linspace(0, len(panels) - 1, min(4, len(panels))).round().astype(int))]
    figure, axes = subplots(2, len(picked), 14 / len(picked) + 0.5, sharex="row", sharey="row")
    for column, sigma in zip(axes.T, picked):
        own = frame.loc[frame.sigma == sigma]
        noisy, clean = own.loc[own.kind == "noisy"], own.loc[own.kind == "denoised"]
        for ax in column:
            _scene(ax, frame)
            ax.scatter(noisy.x, noisy.y, s=22, facecolor="none", edgecolor=PALETTE[3], label="noisy rows", zorder=3)
            ax.scatter(clean.x, clean.y, s=22, color=PALETTE[0], edgecolor="white", label="denoised rows", zorder=4)
        column[0].set_title(f"σ = {sigma:.2g}")
    near = frame.loc[(frame.kind == "query") | (frame.kind == "denoised") & (frame.sigma == picked[-1]), ["x", "y"]]
    centre, half = (near.max() + near.min()) / 2, 0.7 * (near.max() - near.min()).max() or 1
    axes[1, 0].set(xlim=(centre.x - half, centre.x + half), ylim=(centre.y - half, centre.y + half))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, handletextpad=0.1)
    return figure


def on_map(frame: pd.DataFrame) -> Figure:
    """The answers of several methods to one test request (star) on the same map of the contents around it, on which
    neighbours are alike. Small dots: contents, in colour where they are on topic, by interpretation of the request
    (colours come again after nine). Large: the ten results of a method, a circle in the colour of its interpretation,
    or a black cross where off topic."""
    methods = [method for method in frame.method.unique() if method not in (CONTENTS, REQUEST)]
    figure, axes = subplots(2, 3, 5.1, sharex=True, sharey=True)
    contents, request = frame.loc[frame.method == CONTENTS], frame.loc[frame.method == REQUEST]
    colours = {n: HUES[i % len(HUES)] for i, n in enumerate(sorted(set(contents.subtopic) - {-1}))}
    for ax, method in zip(axes.flat, methods):
        off, on = contents.loc[contents.on_topic < 1], contents.loc[contents.on_topic == 1]
        ax.scatter(off.x, off.y, s=4, color=NEUTRAL)
        ax.scatter(on.x, on.y, s=7, color=[colours[n] for n in on.subtopic], alpha=PALE)
        found = frame.loc[frame.method == method]
        known, missed = found.loc[found.on_topic != 0], found.loc[found.on_topic == 0]
        fill = [colours.get(n, PALETTE[0]) for n in known.subtopic]
        ax.scatter(known.x, known.y, s=60, color=fill, edgecolor="0.1", linewidth=0.9, zorder=3)
        ax.scatter(missed.x, missed.y, s=42, color="0.1", marker="x", linewidth=1.6, zorder=3)
        ax.scatter(request.x, request.y, s=110, color="white", edgecolor="0.1", marker="*", zorder=4)
        shown = known.loc[known.subtopic >= 0, "subtopic"].nunique()
        kinds = f"{shown} kind{'' if shown == 1 else 's'}"
        said = f": {len(known)} on topic, {kinds}" if (found.on_topic >= 0).all() else ""
        ax.set_title(f"{method}{said}", fontsize=7.5)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    for ax in axes.flat[len(methods) :]:
        ax.axis("off")
    looks: dict[str, dict[str, Any]] = {"content": {"marker": "o", "color": NEUTRAL, "markersize": 3}}
    if len(request):
        looks["request"] = {"marker": "*", "color": "white", "markeredgecolor": "0.1", "markersize": 10}
    result = {"marker": "o", "color": HUES[0], "markeredgecolor": "0.1", "markersize": 7}
    if (contents.on_topic >= 0).all():
        looks["content on topic, by interpretation"] = looks["content"] | {"color": HUES[0], "alpha": PALE}
        looks |= {
            "result on topic": result,
            "result off topic": {"marker": "x", "color": "0.1", "markeredgewidth": 1.6},
        }
    else:
        looks["result"] = result
    handles = [Line2D([], [], linestyle="none", label=label, **look) for label, look in looks.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, handletextpad=0.1, columnspacing=1)
    return figure
