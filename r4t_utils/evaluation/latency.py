"""Wall-clock time of paths that are compared: measured in turn, warmed up, synchronised, with NFE beside."""

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import pandas as pd
import torch

T = TypeVar("T")


def _now() -> float:
    """Seconds on the clock, once all work that was queued on a GPU is done."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def interleaved(fns: Mapping[str, Callable[[], T]], repeats: int, warmup: int) -> dict[str, list[T]]:
    """Call several functions in turn, so that a slow spell of the machine falls on all of them.

    Each of `warmup + repeats` rounds calls every function once, starting one further along each time; the first
    `warmup` rounds are not counted. No garbage is collected meanwhile. Returns {key: values of each counted call}.
    """
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
    """Seconds that each step of a walk took; of a step that comes again, all together."""
    spent, start = defaultdict(float), _now()
    for name in walk:
        end = _now()
        spent[name] += end - start
        start = end
    return spent


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
        paths: {path: function(batch)}, which does the work for `batch` queries and yields each step's name once done.
        parts: {part: {path: its steps}}; what is reported is the sum of those steps within one repeat.
        nfe: {path: network evaluations that one query needs}: a token is one, a guided sampling step two;
            0 for a path without a network.
        batch_sizes: queries per call, each 1 or more.
        repeats, warmup: rounds that count, 1 or more, and that do not.
        progress: wraps the batch sizes, as tqdm does.
    Returns the columns of latency.csv, a row per timing: path, part, batch, repeat (the round, from 0; all paths of one
    round were walked side by side), seconds (per call) and nfe. Raises ValueError for a path without its NFE, or a step
    that it did not take.
    """
    if bad := [path for path in paths if not nfe.get(path, -1) >= 0]:
        raise ValueError(f"nfe is {dict(nfe)}; it must hold a number of 0 or more for {', '.join(bad)}.")
    rows = []
    for batch in progress(batch_sizes):
        fns = {path: lambda walk=walk, batch=batch: _steps(walk(batch)) for path, walk in paths.items()}
        walks = interleaved(fns, repeats, warmup)
        for part, of in parts.items():
            for path, names in of.items():
                if unknown := [name for name in names if name not in walks[path][0]]:
                    raise ValueError(f"{part} adds up {unknown}, but {path} took {list(walks[path][0])}.")
                what = {"path": path, "part": part, "batch": batch}
                for i, walk in enumerate(walks[path]):
                    seconds = float(sum(walk[name] for name in names))
                    rows.append({**what, "repeat": i, "seconds": seconds, "nfe": nfe[path]})
    return pd.DataFrame(rows)
