"""Timing: what is counted, in which order, and that the collector is left as it was."""

import gc
import time

import pytest

from r4t_utils import latency


def test_interleaving_alternates_and_drops_the_warm_up():
    calls = []

    def fn(name):
        return lambda: calls.append(name) or len(calls)

    seconds, values = latency.interleaved({"a": fn("a"), "b": fn("b")}, repeats=3, warmup=1)
    assert calls == ["a", "b", "b", "a", "a", "b", "b", "a"]  # the path that goes first changes each round
    assert values == {"a": [4, 5, 8], "b": [3, 6, 7]}  # calls 1 and 2 were the warm-up
    assert all(len(s) == 3 for s in seconds.values())


def test_measure_gives_the_median_of_what_was_slept():
    naps = iter([0.05, 0.001, 0.002, 0.003, 0.004, 0.03])  # the slow first call is the warm-up
    got = latency.measure(lambda: time.sleep(next(naps)), repeats=5, warmup=1)
    assert got["n"] == 5
    assert 0.003 <= got["median"] < 0.02
    assert got["q25"] <= got["median"] <= got["q75"] < 0.025


@pytest.mark.parametrize("enabled", [True, False])
def test_collector_is_off_inside_and_restored_after_an_error(enabled):
    seen, before = [], gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError):
            latency.measure(lambda: seen.append(gc.isenabled()) or 1 / 0, repeats=1, warmup=0)
        assert seen == [False] and gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_cuda_work_is_waited_for_before_and_after(monkeypatch):
    events = []
    monkeypatch.setattr(latency.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(latency.torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(latency.torch.cuda, "synchronize", lambda: events.append("wait"))
    latency.measure(lambda: events.append("work"), repeats=2, warmup=0)
    assert events == ["wait", "work", "wait"] * 2


def test_sweep_has_the_columns_of_the_results_file():
    def path(cost, nfe):
        return lambda batch: time.sleep(cost * batch) or nfe

    paths = {("R4T-FOLM", "fan-out"): path(0.002, 80), ("R4T-Diffusion", "fan-out"): path(0.0002, 16)}
    seen = []
    frame = latency.sweep(paths, [1, 8], repeats=3, warmup=1, progress=lambda x: seen.extend(x) or x)
    assert list(frame) == ["path", "part", "batch", "median", "q25", "q75", "n", "nfe"]
    assert seen == [1, 8] and len(frame) == 4
    wide = frame.pivot(index="batch", columns="path", values="median")
    assert wide.loc[8, "R4T-FOLM"] >= 0.016 and wide.loc[8, "R4T-FOLM"] > 4 * wide.loc[8, "R4T-Diffusion"]
    assert set(frame[frame.path == "R4T-FOLM"].nfe) == {80}


@pytest.mark.parametrize("call, words", [
    (lambda: latency.measure(lambda: 1, repeats=0, warmup=0), "repeats is 0"),
    (lambda: latency.interleaved({}, 1, 0), "empty"),
    (lambda: latency.sweep({("a", "b"): lambda batch: 1}, [0], 1, 0), "batch_sizes"),
    (lambda: latency.sweep({("a", "b"): lambda batch: None}, [1], 1, 0), "NFE"),
])
def test_bad_input_names_the_value_and_the_rule(call, words):
    with pytest.raises(ValueError, match=words):
        call()
