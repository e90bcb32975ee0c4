"""Where models run, in which precision, and the two tasks side by side: they share nothing once the database stands."""

import io
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout

import torch
from joblib import Parallel, delayed, parallel_config


def device() -> str:
    """Where models of ours run: a CUDA GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def bf16() -> bool:
    """Whether the device computes in bfloat16 itself; older GPUs only emulate it."""
    return device() == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def side_by_side(function: Callable, tasks: Iterable[str]) -> dict:
    """{task: function(task)}, each call in a process of its own with one thread; on a GPU one call after the other.

    Two small models train faster on a thread each than in turn on two threads, and one thread gives the same bits
    whatever the number of cores. ``function`` may be defined in a notebook; whatever it names and returns is pickled.
    What the calls print is printed here in the end, and an error of theirs is raised here.
    """
    tasks = list(tasks)
    if device() == "cuda":
        return {task: function(task) for task in tasks}
    with parallel_config("loky", inner_max_num_threads=1):
        answers = Parallel(n_jobs=len(tasks), max_nbytes=None)(delayed(_captured)(function, task) for task in tasks)
    for _, printed in answers:
        print(printed, end="")
    return {task: value for task, (value, _) in zip(tasks, answers)}


def _captured(function: Callable, task: str) -> tuple:
    with redirect_stdout(io.StringIO()) as printed:
        value = function(task)
    return value, printed.getvalue()
