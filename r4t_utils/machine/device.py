"""Where models run, in which precision and on how many threads, and two tasks that share nothing side by side."""

import ctypes
import gc
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TypeVar

THREADS = 2  # of every recorded computation: how a sum is split among threads decides how it is rounded
FEW = 16  # texts or queries below which one thread is faster than two: a thread that sleeps must be woken each time

T = TypeVar("T")


def device() -> str:
    """Where models of ours run: a CUDA GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def gpu_memory() -> int:
    """Bytes that the CUDA GPU has."""
    import torch

    return torch.cuda.get_device_properties(0).total_memory


def bf16() -> bool:
    """Whether the device computes in bfloat16 itself; older GPUs only emulate it, and so do older processors."""
    import torch

    if device() == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = getattr(torch.cpu, "get_capabilities", dict)()  # torch before 2.12 does not say
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def half_products() -> Any:
    """A context in which matrices are multiplied in bfloat16 where the device computes in it, and as always elsewhere.

    For encoding: an embedding's cosine with that of float32 is 0.9999 or more, in some 0.6 of the time.
    """
    import torch

    return torch.autocast(device(), torch.bfloat16, enabled=bf16())


def fix_threads() -> None:
    """Lets torch and faiss compute on THREADS threads and BLAS on one, whatever the cores and the environment.

    A second thread of OpenBLAS goes on spinning for some 25 ms after each product of numpy's, and takes a core from
    what torch does next: encoding and denoising a batch then take up to twice as long.
    """
    import faiss  # and with it numpy: a library must be loaded to be told
    import torch
    from threadpoolctl import threadpool_limits

    threadpool_limits({"blas": 1, "openmp": THREADS})
    torch.set_num_threads(THREADS)
    faiss.omp_set_num_threads(THREADS)


@contextmanager
def threads_for(n: int) -> Iterator[None]:
    """A context in which the caller's thread computes a batch of n texts or queries: alone where they are fewer than
    `FEW`. A thread that first uses torch meanwhile computes alone from then on: slower, perhaps rounded otherwise."""
    import torch

    before = torch.get_num_threads()
    if n >= FEW or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def numerics() -> dict[str, str | int | bool | list[str]]:
    """What the last bits of results depend on and no setting fixes, for the record: the vector instructions of torch,
    each BLAS with its version and the processor that its kernels are for, the threads in use, and whether texts are
    encoded in bfloat16.
    """
    import torch
    from threadpoolctl import threadpool_info

    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    kernels = {f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}".strip() for pool in blas}
    capability = torch.backends.cpu.get_cpu_capability()
    return {"torch": capability, "blas": sorted(kernels), "threads": torch.get_num_threads(), "bf16": bf16()}


def release() -> None:
    """Gives the system back what is free: glibc keeps it, and after the training of a language model that is
    gigabytes which the next process lacks."""
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def side_by_side(function: Callable[[str], T], tasks: Iterable[str], at_once: int | None = None) -> dict[str, T]:
    """{task: function(task)}, each call with one thread, and in a process where there are several, `at_once` of them at
    a time, or all; on a GPU one call after the other.

    Two small models train faster on a thread each than in turn on two threads, and one thread gives the same bits
    whatever the number of cores. ``function`` may be defined in a notebook; whatever it names and returns is pickled.
    What the calls print is printed here in the end, and an error of theirs is raised here. The processes end with the
    calls, and give back their memory, which is gigabytes after the training of a language model.
    """
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky import get_reusable_executor

    tasks = list(tasks)
    if device() == "cuda" or not tasks:
        return {task: function(task) for task in tasks}
    calls = [delayed(_captured)(function, task) for task in tasks]
    try:
        with parallel_config("loky", inner_max_num_threads=1):
            answers: list[tuple[T, str]] = Parallel(n_jobs=at_once or len(tasks), max_nbytes=None)(calls)  # pyright: ignore[reportAssignmentType]
    finally:
        get_reusable_executor().shutdown(wait=True)
    for _, printed in answers:
        print(printed, end="")
    return {task: value for task, (value, _) in zip(tasks, answers)}


def _captured(function: Callable[[str], T], task: str) -> tuple[T, str]:
    with redirect_stdout(io.StringIO()) as printed:
        value = function(task)
    return value, printed.getvalue()
