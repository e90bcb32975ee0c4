"""One notebook in a kernel of its own: its environment, its memory, its failures and interruptions."""

import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from r4t_utils.machine.progress import Follower
from r4t_utils.run import paths, publish
from r4t_utils.run import stage as artifacts
from r4t_utils.run.run import Context


class StageFailed(Exception):
    """A notebook that raised, with the last line of its error."""


def execute(stage: str, run: Context) -> tuple[float, float]:
    """Runs one notebook; returns its seconds and the peak memory of the kernel's processes in MB.

    The executed notebook appears under results only after success. Raises StageFailed; the failed notebook is
    kept beside the artifacts.
    """
    import papermill

    running = paths.executing(run.profile, run.label, stage)
    done, failed = (f(run.profile, run.label, stage) for f in (paths.executed, paths.failed))
    running.parent.mkdir(parents=True, exist_ok=True)
    # The data folder travels by the environment, so that no machine's paths end up in a saved notebook.
    values = {
        "profile": run.profile,
        "dataset": run.dataset,
        "data_dir": "",
        "seed": run.seed,
        "overrides": run.overrides,
    }
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, PeakMemory() as memory:
        events = Path(scratch) / "progress.jsonl"
        try:
            with _environment(run, events), Follower(events):
                _in_thread(
                    papermill.execute_notebook,
                    str(paths.notebook(stage)),
                    str(running),
                    parameters=values,
                    kernel_name="python3",
                    cwd=str(paths.ROOT),
                    progress_bar=False,
                    log_output=False,
                    extra_arguments=["--log-level=CRITICAL"],
                )  # or each kernel warns of its sockets
        except Exception as error:
            failed.parent.mkdir(parents=True, exist_ok=True)
            if running.is_file():
                publish.write(failed, publish.clean(publish.read(running)))
            raise StageFailed(_last_line(error)) from None
        else:
            publish.write(running, publish.clean(publish.read(running)))
            os.replace(running, done)
            failed.unlink(missing_ok=True)
        finally:
            running.unlink(missing_ok=True)
            artifacts.sweep(stage, run)
    return time.monotonic() - began, memory.peak_mb


def _in_thread(function, *args, **kwargs) -> None:
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


@contextmanager
def _environment(run: Context, events: Path):
    """What the kernel inherits; absolute, since a kernel starts in the project's root."""
    python_path = os.pathsep.join(filter(None, [str(paths.ROOT), os.environ.get("PYTHONPATH")]))
    changed = {
        "R4T_ARTIFACTS": str(paths.artifacts()),
        "R4T_RESULTS": str(paths.results()),
        "R4T_NOTEBOOKS": str(paths.notebooks()),
        "R4T_DATA_DIR": str(run.data_dir or ""),
        "R4T_PROGRESS": str(events),
        "PYTHONPATH": python_path,
        "PYTHONHASHSEED": "0",
        "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel, not one that the user has elsewhere
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # or each kernel prints a debugger warning
    }
    before = {key: os.environ.get(key) for key in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


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
