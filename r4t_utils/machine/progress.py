"""Progress that is live while a cell runs and leaves one line behind, such as "RL: 60 in 182 s".

Under the pipeline the bar lives in the terminal: the kernel appends what tqdm draws to the file named by $R4T_PROGRESS,
which `Follower` copies. In an open notebook it is a line of output rewritten in place, else one of the terminal.
"""

import contextlib
import logging
import os
import re
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import TextIO, TypeVar

from tqdm import tqdm

INTERVAL = 0.5  # seconds between two drawings of a bar
REDRAW = "\r\x1b[K"  # back to the start of a terminal's line, which is wiped

T = TypeVar("T")


def track(iterable: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Yields from `iterable` under a bar; `total` defaults to its length, if it has one."""
    with Bar(len(iterable) if total is None and isinstance(iterable, Sized) else total, label) as bar:
        for item in iterable:
            yield item
            bar.update()


class Bar(tqdm):
    """A bar for loops that are not a plain `for`, in a `with` statement or to be closed.

    `total` is the number of steps (None if unknown); update(n, **postfix) advances by n and shows facts (reward=0.41).
    """

    def __init__(self, total: int | None, label: str):
        self.show = _display()
        columns = min(100, shutil.get_terminal_size().columns - 5)  # with the follower's indentation on one line
        how = {"mininterval": INTERVAL, "miniters": 1, "ncols": columns, "ascii": False, "disable": False}
        super().__init__(total=total, desc=label, gui=True, **how)  # gui: `display` draws
        self.refresh()

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        self.show(str(self), False)

    def update(self, n: float | None = 1, **postfix: float | str) -> bool | None:
        if postfix:
            self.set_postfix(postfix, refresh=False)
        return super().update(n)

    def close(self) -> None:
        """Takes the bar away and leaves its one line. Does nothing the second time."""
        if not self.disable:
            super().close()
            of = f" of {self.total}" if self.total is not None and self.n != self.total else ""
            seconds = self.format_dict["elapsed"]
            self.show(f"{self.desc}: {self.n}{of} in {seconds:.{int(seconds < 10)}f} s", True)

    def __del__(self) -> None:
        """A bar that was never closed leaves no line."""


def _display() -> Callable[[str, bool], None]:
    """The function that shows a status, and whether it is the line that stays, after where this process runs."""
    if os.environ.get("R4T_PROGRESS"):
        return _to_file
    ipython = sys.modules.get("IPython")
    if not (ipython and getattr(ipython.get_ipython(), "kernel", None)):
        return _on_terminal
    handle = ipython.display.DisplayHandle()
    handle.display({"text/plain": ""}, raw=True)
    return lambda status, last: handle.update({"text/plain": status}, raw=True)


def _to_file(status: str, last: bool) -> None:
    with open(os.environ["R4T_PROGRESS"], "a", encoding="utf-8", newline="") as file:
        file.write(status + ("\n" if last else "\r"))  # one short write, so that several processes may share the file
    if last:
        print(status, flush=True)


def _on_terminal(status: str, last: bool) -> None:
    if sys.stderr.isatty():
        print(REDRAW + ("" if last else status), end="", file=sys.stderr, flush=True)
    if last:
        print(status, flush=True)


class Follower:
    """Copies what bars of other processes, within the `with` statement, append to a file: a live bar on a terminal, and
    elsewhere lines that are at least `every` seconds apart for one label, and the lines that stay.
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
        with open(self.path, "rb") as file:
            rest, stopping = b"", False
            while not stopping:
                stopping = self.stop.wait(0.2)
                *pieces, rest = re.split(rb"(?<=[\r\n])", rest + file.read())
                for piece in pieces:
                    self._show(f"    {piece[:-1].decode()}", piece.endswith(b"\n"))
        if self.live:
            self.stream.write(REDRAW)
            self.stream.flush()

    def _show(self, status: str, last: bool) -> None:
        if self.live:
            meter = status[: shutil.get_terminal_size().columns - 1]  # on one line: "\r" cannot go back over two
            self.stream.write(REDRAW + (f"{status}\n" if last else meter))
        else:
            label, now = status.partition(":")[0], time.monotonic()
            since = now - self.said.setdefault(label, now)
            if last:
                del self.said[label]
            elif since >= self.every:
                self.said[label] = now
            else:
                return
            self.stream.write(f"{status}\n")
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
    with contextlib.suppress(ImportError):  # a retriever does without
        import datasets as sets

        switches += [(sets.is_progress_bar_enabled(), sets.disable_progress_bars, sets.enable_progress_bars)]
    with contextlib.ExitStack() as restored, warnings.catch_warnings(action="ignore"):
        for shows, off, on in switches:
            restored.callback(on if shows else off)
            off()
        restored.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)
        yield
