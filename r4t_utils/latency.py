"""Wall-clock time of paths that are compared: measured in turn, warmed up, synchronised, with NFE beside."""

import gc
import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from functools import partial

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
            for key in keys[turn % len(keys):] + keys[:turn % len(keys)]:
                elapsed, value = _timed(fns[key])
                if turn >= warmup:
                    seconds[key].append(elapsed)
                    values[key].append(value)
    return seconds, values


def measure(fn: Callable, repeats: int, warmup: int) -> dict:
    """Seconds a call of fn() takes: {"median", "q25", "q75", "n"} over `repeats`, after `warmup` calls."""
    return _quartiles(interleaved({"fn": fn}, repeats, warmup)[0]["fn"])


def sweep(paths: Mapping[tuple[str, str], Callable], batch_sizes: Iterable[int], repeats: int, warmup: int,
          progress: Callable = iter) -> pd.DataFrame:
    """Time every path at every batch size; all paths of one batch size are measured in turn.

    paths: {(path, part): function(batch)}, for instance ("R4T-FOLM", "with search"). Each function does
    the whole work for `batch` queries and returns its NFE, the network evaluations a query needed (a
    token is one, a guided sampling step two), so that the count is of the run that was timed.
    `progress` wraps the batch sizes, as tqdm does. Returns the columns of latency.csv, seconds a call;
    nfe is the median over repeats. Raises ValueError for bad counts or a function that returns no NFE.
    """
    _check(repeats, warmup)
    batch_sizes = list(batch_sizes)
    if not batch_sizes or any(b < 1 for b in batch_sizes):
        raise ValueError(f"batch_sizes is {batch_sizes}; it must hold whole numbers of 1 or more.")
    rows = []
    for batch in progress(batch_sizes):
        calls = {key: partial(fn, batch) for key, fn in paths.items()}
        seconds, nfes = interleaved(calls, repeats, warmup)
        for (path, part), spent in seconds.items():
            nfe = nfes[path, part]
            if not all(isinstance(v, (int, float, np.number)) and math.isfinite(v) and v > 0 for v in nfe):
                raise ValueError(f"{path}, {part} returned {nfe[0]!r}; it must return its NFE, above 0.")
            rows.append({"path": path, "part": part, "batch": batch, **_quartiles(spent),
                         "nfe": float(np.median(nfe))})
    return pd.DataFrame(rows, columns=COLUMNS)
