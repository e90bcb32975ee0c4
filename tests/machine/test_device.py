"""The two tasks side by side: results by task, one thread each, errors raised here."""

import os

import pytest
import torch

from r4t_utils.machine.device import side_by_side


def test_results_come_by_task_from_other_processes():
    offset = 2  # what a function names travels with it, as in a notebook
    found = side_by_side(lambda task: (len(task) + offset, os.getpid()), ["oar", "wscr"])
    assert {task: n for task, (n, _) in found.items()} == {"oar": 5, "wscr": 6}
    assert os.getpid() not in {pid for _, pid in found.values()}


def test_each_process_computes_on_one_thread():
    assert side_by_side(lambda task: torch.get_num_threads(), ["oar", "wscr"]) == {"oar": 1, "wscr": 1}


def test_on_a_gpu_the_calls_stay_here_in_turn(monkeypatch):
    monkeypatch.setattr("r4t_utils.machine.device.device", lambda: "cuda")
    assert side_by_side(lambda task: os.getpid(), ["oar", "wscr"]) == {"oar": os.getpid(), "wscr": os.getpid()}


def test_an_error_is_raised_as_it_was():
    def fails(task):
        raise ValueError(f"no {task} today")

    with pytest.raises(ValueError, match="no oar today"):
        side_by_side(fails, ["oar"])


def test_what_the_calls_print_appears_here_by_task(capsys):
    side_by_side(lambda task: print(f"{task} done"), ["oar", "wscr"])
    assert capsys.readouterr().out == "oar done\nwscr done\n"
