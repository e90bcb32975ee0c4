"""Progress that is live while a cell runs and leaves one line behind, such as "RL: 60 in 182 s".

Under the pipeline the bar lives in the terminal: the kernel appends events to the file named by $R4T_PROGRESS and
`Follower` draws them. In an open notebook it is a line of output that is rewritten in place, else one of the terminal.
"""

import contextlib
import importlib.util
import json
import logging
import os
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from types import ModuleType
from typing import TextIO, TypeVar

from tqdm import tqdm

INTERVAL = 0.5  # seconds between two events of a bar

T = TypeVar("T")


def track(iterable: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Yields from `iterable` under a bar; `total` defaults to its length, if it has one."""
    with Bar(len(iterable) if total is None and isinstance(iterable, Sized) else total, label) as bar:
        for item in iterable:
            yield item
            bar.update()


class Bar(contextlib.AbstractContextManager["Bar"]):
    """A bar for loops that are not a plain `for`, in a `with` statement or to be closed.

    `total` is the number of steps (None if unknown); update(n, **postfix) advances by n and shows facts (reward=0.41).
    """

    def __init__(self, total: int | None, label: str):
        self.total, self.label, self.n, self.postfix = total, label, 0, ""
        self.began, self.shown, self.closed = time.monotonic(), 0.0, False
        self._show = _display()
        self._emit()

    def update(self, n: int = 1, **postfix: float | str) -> None:
        self.n += n
        if postfix:
            shown = {key: f"{value:.3g}" if isinstance(value, float) else value for key, value in postfix.items()}
            self.postfix = ", ".join(f"{key}={value}" for key, value in shown.items())
        if time.monotonic() - self.shown >= INTERVAL:
            self._emit()

    def close(self) -> None:
        """Takes the bar away and leaves its one line. Does nothing the second time."""
        if not self.closed:
            self.closed = True
            of = f" of {self.total}" if self.total is not None and self.n != self.total else ""
            self._emit(f"{self.label}: {self.n}{of} in {_seconds(time.monotonic() - self.began)}")

    def __exit__(self, *_: object) -> None:
        self.close()

    def _emit(self, last: str = "") -> None:
        self.shown = time.monotonic()
        event = {"id": id(self), "pid": os.getpid(), "label": self.label, "n": self.n, "total": self.total}
        self._show(event | {"elapsed": self.shown - self.began, "postfix": self.postfix, "last": last})


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _meter(event: dict, columns: int = 100) -> str:
    facts = {"prefix": event["label"], "postfix": event["postfix"], "ncols": columns}
    return tqdm.format_meter(event["n"], event["total"], event["elapsed"], **facts)


def _redrawn(text: str, event: dict) -> str:
    """The event in place of what a terminal's line shows, on one line, since "\\r" cannot go back over two."""
    columns = min(100, shutil.get_terminal_size().columns - 5)
    return "\r\x1b[K" + text + ("" if event["last"] else _meter(event, columns))


def _display() -> Callable[[dict], None]:
    """The function that shows a bar's events, after where this process runs."""
    if os.environ.get("R4T_PROGRESS"):
        return _to_file
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return _in_notebook(ipython) if ipython and getattr(shell, "kernel", None) else _on_terminal


def _to_file(event: dict) -> None:
    with open(os.environ["R4T_PROGRESS"], "a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")  # one short write a line, so that several processes may share it
    if event["last"]:
        print(event["last"], flush=True)


def _in_notebook(ipython: ModuleType) -> Callable[[dict], None]:
    handle = ipython.display.DisplayHandle()
    handle.display({"text/plain": ""}, raw=True)
    return lambda event: handle.update({"text/plain": event["last"] or _meter(event)}, raw=True)


def _on_terminal(event: dict) -> None:
    if sys.stderr.isatty():
        print(_redrawn("", event), end="", file=sys.stderr, flush=True)
    if event["last"]:
        print(event["last"], flush=True)


class Follower:
    """Draws events that another process, within the `with` statement, appends to a file: a live bar on a terminal, and
    elsewhere lines that are at least `every` seconds apart for one bar.
    """

    def __init__(self, path: str | Path, stream: TextIO | None = None, every: float = 15.0):
        self.path, self.stream, self.every = Path(path), stream or sys.stderr, every
        self.live, self.said = self.stream.isatty(), {}
        self.stop, self.thread = threading.Event(), threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Follower":
        self.path.touch()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()

    def _run(self) -> None:
        with open(self.path, encoding="utf-8") as file:
            rest, stopping = "", False
            while not stopping:
                stopping = self.stop.wait(0.2)
                *lines, rest = (rest + file.read()).split("\n")
                for line in lines:
                    self._draw(json.loads(line))
        if self.live:
            self.stream.write("\r\x1b[K")
            self.stream.flush()

    def _draw(self, event: dict) -> None:
        if self.live:
            self.stream.write(_redrawn(f"    {event['last']}" + "\n" * bool(event["last"]), event))
        else:
            key, now = (event["pid"], event["id"], event["label"]), time.monotonic()
            due = now - self.said.setdefault(key, now) >= self.every
            if not (event["last"] or due):
                return
            self.said[key] = now
            n, total, elapsed = event["n"], event["total"], event["elapsed"]
            left = f"of {total}, about {_seconds(elapsed / n * (total - n))} left" if total and n else ""
            sparse = f"{event['label']}: {n} {left or f'after {_seconds(elapsed)}'}"
            self.stream.write(f"    {event['last'] or sparse}\n")
        self.stream.flush()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences the banners, warnings and progress bars of libraries, and leaves their switches as they were."""
    from huggingface_hub import utils as hub
    from transformers.utils import logging as bars  # its switch moves that of the hub

    logger = logging.getLogger("transformers")
    switches = [  # (whether it shows bars, off, on); what is turned off first is put back last
        (not hub.are_progress_bars_disabled(), hub.disable_progress_bars, hub.enable_progress_bars),
        (bars.is_progress_bar_enabled(), bars.disable_progress_bar, bars.enable_progress_bar),
    ]
    if importlib.util.find_spec("datasets"):  # which a retriever does without
        import datasets as sets

        switches += [(sets.is_progress_bar_enabled(), sets.disable_progress_bars, sets.enable_progress_bars)]
    with contextlib.ExitStack() as restored, warnings.catch_warnings(action="ignore"):
        for shows, off, on in switches:
            restored.callback(on if shows else off)
            off()
        restored.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)
        yield
