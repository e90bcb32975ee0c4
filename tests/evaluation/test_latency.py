"""Timing: what is counted, in which order, and that the collector is left as it was."""

import gc
import time

import pytest

from r4t_utils.evaluation import latency


def test_interleaving_alternates_and_drops_the_warm_up():
    calls = []

    def fn(name):
        return lambda: calls.append(name) or len(calls)

    values = latency.interleaved({"a": fn("a"), "b": fn("b")}, repeats=3, warmup=1)
    assert calls == ["a", "b", "b", "a", "a", "b", "b", "a"]  # the path that goes first changes each round
    assert values == {"a": [4, 5, 8], "b": [3, 6, 7]}  # calls 1 and 2 were the warm-up


@pytest.mark.parametrize("enabled", [True, False])
def test_collector_is_off_inside_and_restored_after_an_error(enabled):
    seen, before = [], gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError):
            latency.interleaved({"a": lambda: seen.append(gc.isenabled()) or 1 / 0}, repeats=1, warmup=0)
        assert seen == [False] and gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_cuda_work_is_waited_for_before_and_after(monkeypatch):
    events = []
    monkeypatch.setattr(latency.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(latency.torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(latency.torch.cuda, "synchronize", lambda: events.append("wait"))

    def path(batch):
        events.append("work")
        yield "write"

    latency.sweep({"a": path}, {"fan-out": {"a": ["write"]}}, {"a": 80}, [1], repeats=2, warmup=0)
    assert events == ["wait", "work", "wait"] * 2


def walk(**naps):
    """A path whose steps sleep for so many seconds a query."""

    def steps(batch):
        for name, nap in naps.items():
            time.sleep(nap * batch)
            yield name

    return steps


PATHS = {
    "R4T-FOLM": walk(write=0.002, search=0.001),
    "R4T-Diffusion": walk(encode=0.0001, denoise=0.0002, search=0.001),
}
PARTS = {
    "fan-out": {"R4T-FOLM": ["write"], "R4T-Diffusion": ["denoise"]},
    "with search": {"R4T-FOLM": ["write", "search"], "R4T-Diffusion": ["encode", "denoise", "search"]},
}
NFE = {"R4T-FOLM": 80, "R4T-Diffusion": 16}


def test_sweep_adds_up_the_steps_of_each_part():
    seen = []
    frame = latency.sweep(PATHS, PARTS, NFE, [1, 8], repeats=3, warmup=1, progress=lambda x: seen.extend(x) or x)
    assert list(frame) == ["path", "part", "batch", "repeat", "seconds", "nfe"]
    assert seen == [1, 8] and len(frame) == 24 and not frame.duplicated(["path", "part", "batch", "repeat"]).any()
    assert set(frame["repeat"]) == {0, 1, 2}
    for _, rows in frame.groupby(["path", "batch", "repeat"]):  # parts of one walk: the longer span holds the shorter
        seconds = rows.set_index("part")["seconds"]
        assert seconds["fan-out"] < seconds["with search"]
    wide = frame.pivot_table(index="batch", columns=["part", "path"], values="seconds", aggfunc="median").loc[8]
    assert 0.016 <= wide["fan-out", "R4T-FOLM"] < wide["with search", "R4T-FOLM"] - 0.007
    assert wide["fan-out", "R4T-FOLM"] > 4 * wide["fan-out", "R4T-Diffusion"]
    assert wide["with search", "R4T-Diffusion"] >= 0.0104
    assert set(frame[frame.path == "R4T-FOLM"].nfe) == {80}


def test_a_step_that_comes_again_counts_each_time():
    assert latency._steps(iter(())) == {}
    spent = latency._steps(name for _ in range(3) for name in walk(write=0.002, search=0.0001)(1))
    assert list(spent) == ["write", "search"] and spent["write"] > 0.0055


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: latency.sweep(PATHS, PARTS, {"R4T-FOLM": 80}, [1], 1, 0), "R4T-Diffusion"),
        (lambda: latency.sweep(PATHS, {"x": {"R4T-FOLM": ["nap"]}}, NFE, [1], 1, 0), "nap"),
    ],
)
def test_bad_input_names_the_value_and_the_rule(call, words):
    with pytest.raises(ValueError, match=words):
        call()
