"""What is said where memory runs out."""

import sys
from types import SimpleNamespace

from r4t_utils.run import memory

FIRST = "01_data_curation"


def test_an_open_notebook_is_told_too(monkeypatch, capsys):
    told = []
    shell = SimpleNamespace(events=SimpleNamespace(register=lambda event, say: told.append((event, say))))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(memory, "_open", {})
    memory.watch(FIRST), memory.watch("02_rl_fanout")
    ((event, say),) = told  # once, however many stages a kernel opens
    assert event == "post_run_cell"
    full = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
    for error in (None, ValueError("k=0"), RuntimeError("CUDA error: out of memory"), RuntimeError(full)):
        say(SimpleNamespace(error_in_exec=error))
    out = capsys.readouterr().out
    assert out.startswith("if memory ran out: lower rl.micro_batch in `overrides`") and out.count("\n") == 2
    monkeypatch.delitem(sys.modules, "IPython")
    memory.watch(FIRST)  # not in a kernel: nothing to tell
    assert len(told) == 1
