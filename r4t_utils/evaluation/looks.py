"""How figures look: a method keeps one colour and one marker throughout, a task one colour."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from r4t_utils.evaluation.claims import (
    BEST_OF_5,
    BEST_OF_5_FOLM,
    DIFFUSION,
    DPP,
    FOLM,
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

DASHED = (0, (4, 2))
PALETTE = sns.color_palette("colorblind").as_hex()
# The rows of `results` from top to bottom; a kind of method shares a colour, and R4T's two have one each.
KINDS = {
    "no training": ("0.35", "v", (NO_FANOUT, NOISE, MMR, MSD, DPP, QUERY_WORDS)),
    "zero-shot policy": (PALETTE[4], "s", (ZERO_SHOT, FUSED, BEST_OF_5, QUERY_ZERO_SHOT)),
    "tuned policy": (PALETTE[0], "o", (FOLM, BEST_OF_5_FOLM, XQUAD, NEAREST)),
    "diffusion retriever": (PALETTE[3], "D", (DIFFUSION,)),
    "reads the database": (PALETTE[2], "^", (MAXIMISER, PRINTED)),
}
ROWS = [method for _, _, methods in KINDS.values() for method in methods]
COLOURS = {method: colour for colour, _, methods in KINDS.values() for method in methods}
MARKERS = {method: marker for _, marker, methods in KINDS.values() for method in methods}
TASKS = {"oar": "OAR", "wscr": "WSCR"}
TASK_COLOURS = {"oar": PALETTE[5], "wscr": PALETTE[9]}


def subplots(rows: int, columns: int, height: float, **kwargs) -> tuple[Figure, np.ndarray]:
    """A figure without pyplot, so that nothing is shown twice or kept between cells, and its axes (rows, columns)."""
    figure = Figure(figsize=(7, height), layout="constrained")  # inches
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def by_task(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each task that the frame holds, in the order of `TASKS`."""
    return {task: frame.loc[frame.task == task] for task in TASKS if task in set(frame.task)}
