"""Bars in scripts, notebooks and terminals, and libraries that are silenced for a while."""

import io
import json
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
def every_event(monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    monkeypatch.delenv("R4T_PROGRESS", raising=False)


def events(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_plain_script_keeps_one_line(capsys):
    assert list(track(range(5), "toy")) == [0, 1, 2, 3, 4]
    out, err = capsys.readouterr()
    assert re.fullmatch(LINE + "\n", out) and err == ""


def test_events_reach_the_file_and_one_line_the_notebook(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("R4T_PROGRESS", str(tmp_path / "events"))
    with Bar(4, "toy") as bar:
        bar.update(3, reward=0.41234, step=2)
        bar.update()
    bar.close()
    out = capsys.readouterr().out
    assert re.fullmatch(r"toy: 4 in [\d.]+ s\n", out)
    found = events(tmp_path / "events")
    assert [e["n"] for e in found] == [0, 3, 4, 4]
    assert found[1]["postfix"] == "reward=0.412, step=2"
    assert [bool(e["last"]) for e in found] == [False, False, False, True]


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
    monkeypatch.setenv("R4T_PROGRESS", str(tmp_path / "events"))
    list(track(range(1000), "toy"))
    assert [e["n"] for e in events(tmp_path / "events")] == [0, 1000]


@pytest.mark.parametrize("every, numbers", [(0.0, [1, 2, 3]), (60.0, [3])])
def test_without_a_terminal_the_follower_prints_sparse_lines(tmp_path, monkeypatch, every, numbers):
    monkeypatch.setenv("R4T_PROGRESS", str(tmp_path / "events"))
    stream = io.StringIO()
    with Follower(tmp_path / "events", stream, every=every):
        with Bar(3, "toy") as bar:
            for _ in range(3):
                bar.update()
    text = stream.getvalue()
    assert "\r" not in text
    lines = [line.strip() for line in text.splitlines() if not line.strip().startswith("toy: 0")]
    found = [int(re.match(r"toy: (\d)", line)[1]) for line in lines]
    assert sorted(set(found)) == numbers
    assert re.fullmatch(r"toy: 3 in [\d.]+ s", lines[-1])
    if every == 0:
        assert re.fullmatch(r"toy: 1 of 3, about [\d.]+ s left", lines[0])


def test_half_written_events_wait_for_their_end(tmp_path):
    stream, path = io.StringIO(), tmp_path / "events"
    bar = {"pid": 1, "id": 1, "label": "toy", "n": 1, "total": 1, "elapsed": 1.0, "postfix": ""}
    event = json.dumps(bar | {"last": "toy: 1 in 1.0 s"})
    with Follower(path, stream), open(path, "a") as file:
        file.write(event[:20])
        file.flush()
        time.sleep(0.4)
        file.write(event[20:] + "\n")
    assert stream.getvalue() == "    toy: 1 in 1.0 s\n"


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
        "R4T_PROGRESS": str(tmp_path / "events"),
        "PYTHONPATH": str(paths.ROOT),
        "COLUMNS": "60",
    }
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "events"), work],
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
