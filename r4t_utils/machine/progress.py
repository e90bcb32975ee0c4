"""Progress that is live while a cell runs and leaves one line behind, such as "RL: 60 in 182 s".

Under the pipeline the bar lives in the terminal: the kernel appends events to the file named by $R4T_PROGRESS
and `Follower` draws them. In an open notebook it is a line of output that is rewritten in place; in a plain
script, a line of the terminal.
"""

import contextlib
import json
import logging
import os
import shutil
import sys
import threading
import time
import warnings
from pathlib import Path

from tqdm import tqdm

INTERVAL = 0.5  # seconds between two events of a bar


def track(iterable, label: str, total: int | None = None):
    """Yields from `iterable` under a bar; `total` defaults to its length, if it has one."""
    bar = Bar(len(iterable) if total is None and hasattr(iterable, "__len__") else total, label)
    try:
        for item in iterable:
            yield item
            bar.update()
    finally:
        bar.close()


class Bar:
    """A bar for loops that are not a plain `for`. Close it, or use it in a `with` statement.

    `total` is the number of steps (None if unknown); update(n, **postfix) advances by n and shows short
    facts, such as reward=0.41.
    """

    def __init__(self, total: int | None, label: str):
        self.total, self.label, self.n, self.postfix = total, label, 0, ""
        self.began, self.shown, self.closed = time.monotonic(), 0.0, False
        self._show = _display()
        self._emit()

    def update(self, n: int = 1, **postfix) -> None:
        self.n += n
        if postfix:
            self.postfix = ", ".join(f"{key}={_short(value)}" for key, value in postfix.items())
        if time.monotonic() - self.shown >= INTERVAL:
            self._emit()

    def close(self) -> None:
        """Takes the bar away and leaves its one line. Does nothing the second time."""
        if self.closed:
            return
        self.closed = True
        of = f" of {self.total}" if self.total is not None and self.n != self.total else ""
        self._emit(f"{self.label}: {self.n}{of} in {_seconds(time.monotonic() - self.began)}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _emit(self, last: str = "") -> None:
        self.shown = time.monotonic()
        self._show(
            {
                "id": id(self),
                "pid": os.getpid(),
                "label": self.label,
                "n": self.n,
                "total": self.total,
                "elapsed": self.shown - self.began,
                "postfix": self.postfix,
                "last": last,
            }
        )


def _short(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _meter(event: dict, columns: int = 100) -> str:
    return tqdm.format_meter(
        event["n"], event["total"], event["elapsed"], prefix=event["label"], postfix=event["postfix"], ncols=columns
    )


def _columns() -> int:
    """Width of a bar that a terminal shows on one line, since "\\r" cannot go back over two."""
    return min(100, shutil.get_terminal_size().columns - 5)


def _display():
    """The function that shows a bar's events, after where this process runs."""
    if os.environ.get("R4T_PROGRESS"):
        return _to_file
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return _in_notebook(ipython) if getattr(shell, "kernel", None) else _on_terminal


def _to_file(event: dict) -> None:
    with open(os.environ["R4T_PROGRESS"], "a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")  # one short write a line, so that several processes may share it
    if event["last"]:
        print(event["last"], flush=True)


def _in_notebook(ipython):
    handle = ipython.display.DisplayHandle()
    handle.display({"text/plain": ""}, raw=True)

    def show(event):
        handle.update({"text/plain": event["last"] or _meter(event)}, raw=True)

    return show


def _on_terminal(event: dict) -> None:
    if sys.stderr.isatty():
        bar = "" if event["last"] else _meter(event, _columns())
        print("\r\x1b[K" + bar, end="", file=sys.stderr, flush=True)
    if event["last"]:
        print(event["last"], flush=True)


class Follower:
    """Draws events that another process appends to a file: a live bar on a terminal, sparse lines elsewhere.

    Used in a `with` statement around the other process; `every` is the least number of seconds between two
    lines of one bar where `stream` is not a terminal.
    """

    def __init__(self, path: Path, stream=None, every: float = 15.0):
        self.path, self.stream, self.every = Path(path), stream or sys.stderr, every
        self.live = self.stream.isatty()
        self.said: dict = {}
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.path.touch()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def _run(self) -> None:
        with open(self.path, encoding="utf-8") as file:
            rest = ""
            while True:
                stopping = self.stop.is_set()
                *lines, rest = (rest + file.read()).split("\n")
                for line in lines:
                    self._draw(json.loads(line))
                if stopping:
                    break
                self.stop.wait(0.2)
        if self.live:
            self.stream.write("\r\x1b[K")
            self.stream.flush()

    def _draw(self, event: dict) -> None:
        if self.live:
            text = f"    {event['last']}\n" if event["last"] else "    " + _meter(event, _columns())
            self.stream.write("\r\x1b[K" + text)
        else:
            key, now = (event["pid"], event["id"], event["label"]), time.monotonic()
            due = now - self.said.setdefault(key, now) >= self.every
            if not (event["last"] or due):
                return
            self.said[key] = now
            self.stream.write("    " + (event["last"] or _sparse(event)) + "\n")
        self.stream.flush()


def _sparse(event: dict) -> str:
    if not event["total"] or not event["n"]:
        return f"{event['label']}: {event['n']} after {_seconds(event['elapsed'])}"
    left = event["elapsed"] / event["n"] * (event["total"] - event["n"])
    return f"{event['label']}: {event['n']} of {event['total']}, about {_seconds(left)} left"


@contextlib.contextmanager
def quiet():
    """Silence the libraries' banners and progress bars; warnings of ours and errors still show."""
    import datasets
    from transformers import utils

    level = logging.getLogger("transformers").level
    datasets.disable_progress_bars()
    utils.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.getLogger("transformers").setLevel(level)
