"""The two tasks side by side: results by task, one thread each, errors raised here. Threads that the environment does
not decide."""

import json
import os
import subprocess
import sys

import psutil
import pytest
import torch

from r4t_utils.machine import device as machine
from r4t_utils.machine.device import side_by_side
from r4t_utils.run import paths


def test_results_come_by_task_from_other_processes():
    offset = 2  # what a function names travels with it, as in a notebook
    found = side_by_side(lambda task: (len(task) + offset, os.getpid()), ["oar", "wscr"])
    assert {task: n for task, (n, _) in found.items()} == {"oar": 5, "wscr": 6}
    pids = {pid for _, pid in found.values()}
    assert os.getpid() not in pids and not any(map(psutil.pid_exists, pids))  # and their memory is given back


@pytest.mark.skipif(sys.platform != "linux", reason="asks the system as Linux tells it")
def test_what_is_free_is_given_back():
    rows = [bytearray(100_000) for _ in range(3000)]  # each below the size that is given back at once
    kept, before = rows[-1], psutil.Process().memory_info().rss
    del rows
    machine.release()
    assert before - psutil.Process().memory_info().rss > 200e6 and len(kept) == 100_000


def test_each_process_computes_on_one_thread():
    assert side_by_side(lambda task: torch.get_num_threads(), ["oar", "wscr"]) == {"oar": 1, "wscr": 1}


def test_a_small_batch_is_computed_by_one_thread_and_leaves_the_rest_as_it_was():
    torch.set_num_threads(2)
    seen = []
    for n in (1, machine.FEW - 1, machine.FEW):
        with machine.threads_for(n):
            seen.append(torch.get_num_threads())
    assert seen == [1, 1, 2] and torch.get_num_threads() == 2
    with pytest.raises(KeyError), machine.threads_for(1):
        raise KeyError
    assert torch.get_num_threads() == 2


def test_on_a_gpu_the_calls_stay_here_in_turn(monkeypatch):
    monkeypatch.setattr("r4t_utils.machine.device.device", lambda: "cuda")
    assert side_by_side(lambda task: os.getpid(), ["oar", "wscr"]) == {"oar": os.getpid(), "wscr": os.getpid()}


def test_no_more_tasks_run_at_once_than_asked_for():
    found = side_by_side(lambda task: os.getpid(), ["a", "b", "c"], at_once=1)
    assert len(set(found.values())) == 1 and list(found) == ["a", "b", "c"]


def test_an_error_is_raised_as_it_was():
    def fails(task):
        raise ValueError(f"no {task} today")

    with pytest.raises(ValueError, match="no oar today"):
        side_by_side(fails, ["oar"])


def test_what_the_calls_print_appears_here_by_task(capsys):
    side_by_side(lambda task: print(f"{task} done"), ["oar", "wscr"])
    assert capsys.readouterr().out == "oar done\nwscr done\n"


# Each of these rounds differently on one thread and on two, on most processors: a decomposition by torch, a product by
# the BLAS of numpy, and a search by that of faiss.
SENSITIVE = """
import hashlib, json, sys
import numpy as np
from r4t_utils.machine.device import fix_threads, numerics
assert not {"torch", "faiss"} & sys.modules.keys()
if sys.argv[1] == "fixed":
    fix_threads()
import faiss, torch
x = torch.randn(700, 384, generator=torch.Generator().manual_seed(0))
unit = torch.nn.functional.normalize(x, dim=1).numpy()
index = faiss.IndexFlatIP(384)
index.add(unit)
found = [torch.linalg.eigh(torch.cov(x.T)).eigenvectors.numpy(), x.numpy() @ x.numpy()[:384], index.search(unit, 5)[0]]
digests = [hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest() for part in found]
print(json.dumps({"digests": digests, "numerics": numerics()}))
"""


def computed(how, **threads):
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment |= {"PYTHONPATH": str(paths.ROOT)} | {f"{name}_NUM_THREADS": str(n) for name, n in threads.items()}
    command = [sys.executable, "-c", SENSITIVE, how]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


@pytest.mark.training
def test_threads_that_are_fixed_give_the_same_bytes_whatever_the_environment_says():
    one, two = computed("free", OMP=1, OPENBLAS=1), computed("free", OMP=2, OPENBLAS=1)
    assert one["digests"] != two["digests"], "computations that no number of threads changes would show nothing"
    assert one["numerics"]["threads"] == 1 and two["numerics"]["threads"] == 2
    fixed = [computed("fixed", OMP=1, OPENBLAS=1), computed("fixed", OMP=2, OPENBLAS=2), computed("fixed", MKL=1)]
    assert all(found == fixed[0] for found in fixed) and fixed[0]["digests"] == two["digests"]
    assert fixed[0]["numerics"]["threads"] == machine.THREADS == 2


def test_what_cannot_be_fixed_is_told():
    found = machine.numerics()
    assert found["torch"] == torch.backends.cpu.get_cpu_capability()
    assert found["blas"] and all(text.split()[0] in ("openblas", "mkl", "blis") for text in found["blas"])
    assert found["threads"] == torch.get_num_threads() and json.loads(json.dumps(found)) == found
