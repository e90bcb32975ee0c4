"""Bars in scripts, notebooks and terminals, and libraries that are silenced for a while."""

import gc
import io
import logging
import os
import pty
import re
import subprocess
import sys
import time
import warnings

import datasets
import huggingface_hub.utils as hub
import nbformat
import pytest
import toys
from nbclient import NotebookClient
from transformers.utils import logging as transformers_logging

from r4t_utils.machine import progress
from r4t_utils.machine.progress import Bar, Follower, track
from r4t_utils.run import paths

LINE = r"toy: 5 in \d+(\.\d)? s"


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    monkeypatch.delenv("R4T_PROGRESS", raising=False)


def statuses(path):
    """What was appended to the file: meters, each with the number of steps done, and the lines that stay."""
    meters, stays = [], []
    for status in re.findall(r"[^\r\n]+[\r\n]", path.read_bytes().decode()):
        if status.endswith("\n"):
            stays.append(status[:-1])
        else:
            meters.append((int(re.search(r"\| (\d+)/\d+ \[", status)[1]), status[:-1]))
    return meters, stays


def test_a_plain_script_keeps_one_line(capsys):
    assert list(track(range(5), "toy")) == [0, 1, 2, 3, 4]
    out, err = capsys.readouterr()
    assert re.fullmatch(LINE + "\n", out) and err == ""


def test_meters_reach_the_file_and_one_line_the_notebook(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("R4T_PROGRESS", str(tmp_path / "shown"))
    with Bar(4, "toy") as bar:
        bar.update(3, reward=0.41234, step=2)
        bar.update()
    bar.close()
    out, err = capsys.readouterr()
    assert re.fullmatch(r"toy: 4 in [\d.]+ s\n", out) and err == ""
    meters, stays = statuses(tmp_path / "shown")
    assert [n for n, _ in meters] == [0, 3, 4] and stays == [out.strip()]
    assert all(meter.endswith(", reward=0.412, step=2]") for _, meter in meters[1:])


def test_several_bars_append_to_one_file(tmp_path, monkeypatch):
    """Nested ones, and those of another process: every status is whole, in one write, and moves no cursor."""
    path = tmp_path / "shown"
    monkeypatch.setenv("R4T_PROGRESS", str(path))
    work = "from r4t_utils.machine.progress import track\nfor i in track(range(300), 'toy'): pass"
    work = f"from r4t_utils.machine import progress\nprogress.INTERVAL = 0\n{work}"
    process = subprocess.Popen([sys.executable, "-c", work], cwd=paths.ROOT, stdout=subprocess.DEVNULL)
    for _ in track(range(10), "toy"):
        for _ in track(range(30), "toy"):
            pass
    assert process.wait() == 0
    meters, stays = statuses(path)
    assert len(meters) == 301 + 10 * 31 + 11 and all(meter.startswith("toy: ") for _, meter in meters)
    assert len(stays) == 12 and all(re.fullmatch(r"toy: (300|30|10) in \d+(\.\d)? s", line) for line in stays)


def test_a_bar_that_is_never_closed_leaves_no_line(capsys):
    bar = Bar(4, "toy")
    bar.update()
    del bar
    gc.collect()
    assert capsys.readouterr() == ("", "")


def test_a_loop_that_fails_says_how_far_it_came(capsys):
    with pytest.raises(RuntimeError):
        for i in track(range(5), "toy"):
            if i == 2:
                raise RuntimeError
    assert capsys.readouterr().out.startswith("toy: 2 of 5 in ")


def test_a_generator_needs_no_length(capsys):
    assert len(list(track((i for i in range(3)), "toy"))) == 3
    assert capsys.readouterr().out.startswith("toy: 3 in ")
    assert len(list(track((i for i in range(3)), "toy", total=3))) == 3


def test_frequent_updates_are_thinned(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 60.0)
    monkeypatch.setenv("R4T_PROGRESS", str(tmp_path / "shown"))
    list(track(range(1000), "toy"))
    meters, stays = statuses(tmp_path / "shown")
    assert [n for n, _ in meters] == [0] and len(stays) == 1 and stays[0].startswith("toy: 1000 in ")


@pytest.mark.parametrize("every, numbers", [(0.0, [1, 2, 3]), (60.0, [3])])
def test_without_a_terminal_the_follower_prints_sparse_lines(tmp_path, monkeypatch, every, numbers):
    monkeypatch.setenv("R4T_PROGRESS", str(tmp_path / "shown"))
    stream = io.StringIO()
    with Follower(tmp_path / "shown", stream, every=every):
        with Bar(3, "toy") as bar:
            for _ in range(3):
                bar.update()
    text = stream.getvalue()
    assert "\r" not in text
    lines = [line.strip() for line in text.splitlines() if "| 0/3 " not in line]
    found = [int(re.match(r"toy: (?:.*\| )?(\d)", line)[1]) for line in lines]
    assert sorted(set(found)) == numbers
    assert re.fullmatch(r"toy: 3 in [\d.]+ s", lines[-1])
    if every == 0:
        assert re.fullmatch(r"toy:  33%\|.*\| 1/3 \[00:00<00:0\d, .*\]", lines[0])


def test_a_half_written_piece_waits_for_its_end(tmp_path):
    stream, path = io.StringIO(), tmp_path / "shown"
    meter, last = "toy:  50%|█    | 1/2 [00:01<00:01]\r".encode(), b"toy: 2 in 2.0 s\n"
    with Follower(path, stream, every=0), open(path, "ab", buffering=0) as file:
        for part in (meter[:11], meter[11:] + last[:4], last[4:]):  # the first ends within a character
            file.write(part)
            time.sleep(0.4)
    assert stream.getvalue() == "    toy:  50%|█    | 1/2 [00:01<00:01]\n    toy: 2 in 2.0 s\n"


def test_a_bar_that_follows_another_of_its_name_is_not_due_at_once(tmp_path):
    stream, path = io.StringIO(), tmp_path / "shown"
    with Follower(path, stream, every=0.5), open(path, "ab", buffering=0) as file:
        file.write(b"toy: 0/1\rtoy: 1 in 0.0 s\n")
        time.sleep(1)
        file.write(b"toy: 0/1\rtoy: 1 in 0.0 s\n")
    assert stream.getvalue() == "    toy: 1 in 0.0 s\n" * 2


def test_on_a_terminal_the_follower_is_live(tmp_path):
    """The bar is redrawn in place with the time left, by another process than the one that works."""
    script = (
        "import subprocess, sys, time\n"
        "from r4t_utils.machine.progress import Follower\n"
        "with Follower(sys.argv[1]):\n"
        "    subprocess.run([sys.executable, '-c', sys.argv[2]], stdout=subprocess.DEVNULL)\n"
    )
    work = (
        "import time\nfrom r4t_utils.machine import progress\nprogress.INTERVAL = 0\n"
        "for _ in progress.track(range(5), 'toy'): time.sleep(0.2)"
    )
    master, slave = pty.openpty()
    environment = {
        **os.environ,
        "R4T_PROGRESS": str(tmp_path / "shown"),
        "PYTHONPATH": str(paths.ROOT),
        "COLUMNS": "60",
    }
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "shown"), work],
        stderr=slave,
        env=environment,
        check=True,
    )
    os.close(slave)
    text = os.read(master, 100_000).decode()
    os.close(master)
    assert re.search(r"\r\x1b\[K    toy:\s+\d+%.*2/5 \[00:00<00:0\d", text)
    assert re.search(LINE, text)
    assert max(len(line) for line in re.split(r"\r|\n|\x1b\[K", text)) < 60


def test_in_an_open_notebook_one_line_is_kept(tmp_path):
    source = (
        "from r4t_utils.machine import progress\nprogress.INTERVAL = 0\n"
        "for i in progress.track(range(5), 'toy'): pass\nprint('after')"
    )
    notebook = nbformat.from_dict(toys.notebook([toys.code("a", source)]))
    NotebookClient(notebook, resources={"metadata": {"path": str(paths.ROOT)}}).execute()
    bar, after = notebook.cells[0].outputs
    assert bar.output_type == "display_data" and list(bar.data) == ["text/plain"]
    assert re.fullmatch(LINE, bar.data["text/plain"])
    assert after.text == "after\n"


def voices():
    """What the libraries show: bars of datasets, transformers and the hub, level of the log, filters of warnings."""
    bars = datasets.is_progress_bar_enabled(), transformers_logging.is_progress_bar_enabled()
    level = logging.getLogger("transformers").level
    return *bars, not hub.are_progress_bars_disabled(), level, list(warnings.filters)


@pytest.fixture(params=[(True, True, True, logging.INFO), (False, True, False, logging.ERROR), (True, False, True, 0)])
def voiced(request):
    """Switches as a user may have set them, put back after the test."""

    def set_to(in_datasets, in_transformers, in_hub, level, *_):
        (datasets.enable_progress_bars if in_datasets else datasets.disable_progress_bars)()
        name = "enable_progress_bar" if in_transformers else "disable_progress_bar"
        getattr(transformers_logging, name)()
        (hub.enable_progress_bars if in_hub else hub.disable_progress_bars)()
        logging.getLogger("transformers").setLevel(level)

    before = voices()
    set_to(*request.param)
    assert voices()[:4] == request.param
    yield
    set_to(*before)


def test_quiet_silences_and_leaves_every_switch_as_it_was(voiced, recwarn):
    before = voices()
    with progress.quiet():
        assert voices()[:4] == (False, False, False, logging.ERROR)
        warnings.warn("a banner", stacklevel=1)
    assert voices() == before and not recwarn


def test_quiet_leaves_every_switch_as_it_was_after_an_error_and_within_itself(voiced):
    before = voices()
    with pytest.raises(RuntimeError), progress.quiet():
        with progress.quiet():
            pass
        assert voices()[:4] == (False, False, False, logging.ERROR)
        raise RuntimeError
    assert voices() == before


def test_quiet_does_without_a_library_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # to import it fails
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with progress.quiet():
        assert not transformers_logging.is_progress_bar_enabled()
