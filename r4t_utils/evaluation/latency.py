"""Wall-clock time of paths that are compared: measured in turn, warmed up, synchronised, with NFE beside."""

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch

COLUMNS = ["path", "part", "batch", "median", "q25", "q75", "n", "nfe"]


def _synchronise() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


@contextmanager
def _gc_off():
    """No collection inside a measurement; the collector's state is put back whatever happens."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _timed(fn: Callable) -> tuple[float, object]:
    _synchronise()  # work queued earlier is not this call's
    start = time.perf_counter()
    value = fn()
    _synchronise()
    return time.perf_counter() - start, value


def _check(repeats: int, warmup: int) -> None:
    if repeats < 1 or warmup < 0:
        raise ValueError(f"repeats is {repeats} and warmup {warmup}; they must be 1 or more, and 0 or more.")


def _quartiles(seconds: list[float]) -> dict:
    q25, median, q75 = np.quantile(seconds, [0.25, 0.5, 0.75])
    return {"median": float(median), "q25": float(q25), "q75": float(q75), "n": len(seconds)}


def interleaved(fns: Mapping, repeats: int, warmup: int) -> tuple[dict, dict]:
    """Time several functions in turn, so that a slow spell of the machine falls on all of them.

    Each of `warmup + repeats` rounds calls every function once, starting one further along each time;
    the first `warmup` rounds are not counted. Returns ({key: seconds of each repeat}, {key: values
    returned}). Raises ValueError for no functions or bad counts.
    """
    _check(repeats, warmup)
    if not fns:
        raise ValueError("fns is empty; give at least one function to time.")
    keys = list(fns)
    seconds, values = {key: [] for key in keys}, {key: [] for key in keys}
    with _gc_off():
        for turn in range(warmup + repeats):
            for key in keys[turn % len(keys) :] + keys[: turn % len(keys)]:
                elapsed, value = _timed(fns[key])
                if turn >= warmup:
                    seconds[key].append(elapsed)
                    values[key].append(value)
    return seconds, values


def _steps(walk: Iterator[str]) -> dict[str, float]:
    """Seconds of each step of a walk, which yields a step's name when it is done."""
    spent: dict[str, float] = {}
    while True:
        elapsed, name = _timed(lambda: next(walk, None))
        if name is None:
            return spent
        spent[name] = elapsed


def sweep(
    paths: Mapping[str, Callable[[int], Iterator[str]]],
    parts: Mapping[str, Mapping[str, Sequence[str]]],
    nfe: Mapping[str, float],
    batch_sizes: Iterable[int],
    repeats: int,
    warmup: int,
    progress: Callable = iter,
) -> pd.DataFrame:
    """Time the steps of every path at every batch size; all paths of one batch size are walked in turn.

    Args:
        paths: {path: function(batch)}; the function does the whole work for `batch` queries and yields the name of
            each step when it is done.
        parts: {part: {path: its steps}}; what is reported is the sum of those steps within one repeat.
        nfe: {path: network evaluations a query needs}: a token is one, a guided sampling step two.
        progress: wraps the batch sizes, as tqdm does.
    Returns the columns of latency.csv, seconds a call. Raises ValueError for bad counts, a path without its NFE, or a
    step that no path took.
    """
    _check(repeats, warmup)
    batch_sizes = list(batch_sizes)
    if not batch_sizes or any(b < 1 for b in batch_sizes):
        raise ValueError(f"batch_sizes is {batch_sizes}; it must hold whole numbers of 1 or more.")
    if bad := [path for path in paths if not nfe.get(path, 0) > 0]:
        raise ValueError(f"nfe is {dict(nfe)}; it must hold a number above 0 for {', '.join(bad)}.")
    rows = []
    for batch in progress(batch_sizes):
        fns = {path: lambda walk=walk, batch=batch: _steps(walk(batch)) for path, walk in paths.items()}
        _, walks = interleaved(fns, repeats, warmup)
        for part, of in parts.items():
            for path, names in of.items():
                if unknown := [name for name in names if name not in walks[path][0]]:
                    raise ValueError(f"{part} adds up {unknown}, but {path} took {list(walks[path][0])}.")
                spent = [sum(walk[name] for name in names) for walk in walks[path]]
                rows.append({"path": path, "part": part, "batch": batch, **_quartiles(spent), "nfe": nfe[path]})
    return pd.DataFrame(rows, columns=COLUMNS)
