"""One notebook in a kernel of its own: its environment, its memory, its failures and interruptions."""

import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import psutil

from r4t_utils.machine.progress import Follower
from r4t_utils.run import files, memory, notebooks, paths
from r4t_utils.run.run import Run
from r4t_utils.run.stage import sweep


class StageFailed(Exception):
    """A notebook that raised, with the last line of its error."""


def failed(stage: str, run: Run) -> Path:
    """The executed notebook of a stage that failed, kept for a look at its traceback."""
    return run.artifacts / f"{stage}.failed.ipynb"


def execute(stage: str, run: Run) -> tuple[float, float]:
    """Runs one notebook; returns its seconds and the peak memory of the kernel's processes in MB.

    The executed notebook takes its place only after success. Raises StageFailed; the failed notebook is kept beside
    the artifacts.
    """
    import papermill

    # The sockets of a kernel that has ended may complain here; what fails comes as an exception.
    logging.getLogger("tornado.general").setLevel(logging.CRITICAL)
    source, began = paths.notebook(stage), time.monotonic()
    # The data folder travels by the environment, so that no machine's paths end up in a saved notebook.
    values = {"profile": run.profile, "dataset": run.dataset, "data_dir": ""}
    values |= {"seed": run.seed, "overrides": run.overrides}
    with tempfile.TemporaryDirectory() as folder, PeakMemory() as used:
        scratch = Path(folder)
        running, events = scratch / source.name, scratch / "progress"
        try:
            with _environment(run, scratch, events), Follower(events):
                options = {"parameters": values, "kernel_name": "python3", "cwd": str(paths.ROOT)}
                quiet = ["--log-level=CRITICAL"]  # or each kernel warns of its sockets
                options |= {"progress_bar": False, "log_output": False, "extra_arguments": quiet}
                _in_thread(papermill.execute_notebook, str(source), str(running), **options)
            notebooks.write(run.executed(stage), notebooks.read(running))
            failed(stage, run).unlink(missing_ok=True)
        except Exception as error:
            if running.is_file():
                notebooks.write(failed(stage, run), notebooks.read(running))
            raise StageFailed(_last_line(error) + _memory_remedy(stage, error)) from None
        finally:
            sweep(stage, run)
    return time.monotonic() - began, used.peak_mb


def _in_thread(function: Callable, *args, **kwargs) -> None:
    """Calls the function in a thread, where it cannot take over this process's signals, as nbclient would."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(function, *args, **kwargs)
        try:
            future.result()
        except KeyboardInterrupt:
            for process in psutil.Process().children(recursive=True):  # the kernel; the thread ends with it
                with suppress(psutil.Error):
                    process.kill()
            raise


def _last_line(error: Exception) -> str:
    name, value = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
    lines = [line for line in str(value).splitlines() if line.strip()]
    return f"{name}: {lines[-1].strip()}" if lines else name


def _memory_remedy(stage: str, error: Exception) -> str:
    told = memory.remedy(stage, getattr(error, "ename", type(error).__name__), str(error))
    return f" ({told})" if told else ""


@contextmanager
def _environment(run: Run, scratch: Path, events: Path) -> Iterator[None]:
    """What the kernel inherits: this environment's Python, no one else's modules, and folders that can be written."""
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Python 3", "language": "python"}
    files.write_text(scratch / "kernels" / "python3" / "kernel.json", json.dumps(spec))
    changed = {
        "R4T_ARTIFACTS": str(paths.artifacts()),
        "R4T_RESULTS": str(paths.results()),
        "R4T_NOTEBOOKS": str(paths.notebooks()),
        "R4T_DATA_DIR": str(run.data_dir or ""),
        "R4T_PROGRESS": str(events),
        "PYTHONSAFEPATH": "1",
        "PYTHONHASHSEED": "0",
        "JUPYTER_PATH": str(scratch),  # searched first, so that no kernel of another environment is taken
        "JUPYTER_PREFER_ENV_PATH": "0",
        "JUPYTER_RUNTIME_DIR": str(scratch / "runtime"),  # these need no home folder
        "IPYTHONDIR": str(scratch / "ipython"),
        "MPLCONFIGDIR": str(paths.artifacts() / "matplotlib"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # or each kernel prints a debugger warning
    }
    with patch.dict(os.environ, changed):  # which puts all of it back, PYTHONPATH too
        os.environ.pop("PYTHONPATH", None)
        yield


class PeakMemory:
    """Peak of the summed resident memory of this process's descendants in MB, looked at every 0.2 s."""

    def __enter__(self):
        self.peak_mb, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            total = 0
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):  # it may have just ended
                    total += process.memory_info().rss
            self.peak_mb = max(self.peak_mb, total / 1e6)
