"""Wall-clock time of paths that are compared: measured in turn, warmed up, synchronised, with NFE beside."""

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd
import torch

T = TypeVar("T")


def _synchronise() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def interleaved(fns: Mapping[str, Callable[[], T]], repeats: int, warmup: int) -> dict[str, list[T]]:
    """Call several functions in turn, so that a slow spell of the machine falls on all of them.

    Each of `warmup + repeats` rounds calls every function once, starting one further along each time; the first
    `warmup` rounds are not counted. No garbage is collected meanwhile. Returns {key: values of each counted call}.
    Raises ValueError for no functions or bad counts.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(f"repeats is {repeats} and warmup {warmup}; they must be 1 or more, and 0 or more.")
    if not fns:
        raise ValueError("fns is empty; give at least one function to time.")
    keys, values = list(fns), {key: [] for key in fns}
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for turn in range(warmup + repeats):
            for key in keys[turn % len(keys) :] + keys[: turn % len(keys)]:
                value = fns[key]()
                if turn >= warmup:
                    values[key].append(value)
    finally:
        if enabled:
            gc.enable()
    return values


def _steps(walk: Iterator[str]) -> dict[str, float]:
    """Seconds of each step of a walk, which yields a step's name when it is done."""
    spent: dict[str, float] = {}
    while True:
        _synchronise()  # work queued earlier is not this step's
        start = time.perf_counter()
        name = next(walk, None)
        _synchronise()
        if name is None:
            return spent
        spent[name] = time.perf_counter() - start


def sweep(
    paths: Mapping[str, Callable[[int], Iterator[str]]],
    parts: Mapping[str, Mapping[str, Sequence[str]]],
    nfe: Mapping[str, float],
    batch_sizes: Sequence[int],
    repeats: int,
    warmup: int,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> pd.DataFrame:
    """Time the steps of every path at every batch size; all paths of one batch size are walked in turn.

    Args:
        paths: {path: function(batch)}; the function does the whole work for `batch` queries and yields the name of
            each step when it is done.
        parts: {part: {path: its steps}}; what is reported is the sum of those steps within one repeat.
        nfe: {path: network evaluations that one query needs}: a token is one, a guided sampling step two.
        batch_sizes: queries per call, each 1 or more.
        repeats, warmup: as `interleaved` takes them.
        progress: wraps the batch sizes, as tqdm does.
    Returns the columns of latency.csv, times in seconds per call. Raises ValueError for bad counts, a path without its
    NFE, or a step that no path took.
    """
    if bad := [path for path in paths if not nfe.get(path, 0) > 0]:
        raise ValueError(f"nfe is {dict(nfe)}; it must hold a number above 0 for {', '.join(bad)}.")
    rows = []
    for batch in progress(batch_sizes):
        fns = {path: lambda walk=walk, batch=batch: _steps(walk(batch)) for path, walk in paths.items()}
        walks = interleaved(fns, repeats, warmup)
        for part, of in parts.items():
            for path, names in of.items():
                if unknown := [name for name in names if name not in walks[path][0]]:
                    raise ValueError(f"{part} adds up {unknown}, but {path} took {list(walks[path][0])}.")
                spent = [float(sum(walk[name] for name in names)) for walk in walks[path]]
                q25, median, q75 = map(float, np.quantile(spent, [0.25, 0.5, 0.75]))
                times = {"median": median, "q25": q25, "q75": q75, "n": len(spent)}
                rows.append({"path": path, "part": part, "batch": batch, **times, "nfe": nfe[path]})
    return pd.DataFrame(rows)
