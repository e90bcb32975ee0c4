"""What the commands of this room share: their options, their exit statuses, and the question whether a run is fresh."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from r4t_utils.data.polyvore import DataError
from r4t_utils.run import manifest, notebooks
from r4t_utils.run.run import DEFAULTS, Run
from r4t_utils.run.stage import STAGES, ArtifactError, stale
from r4t_utils.settings import SettingsError

BAD_INPUT = SettingsError, DataError, ArtifactError


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise SettingsError(f"{message}; see python -m {self.prog} --help")


def parser(module: str, description: str) -> argparse.ArgumentParser:
    """A parser of the five parameters of a run, to which a command may add."""
    made = _Parser(prog=f"r4t_utils.run.{module}", allow_abbrev=False, description=description)
    for name, default in DEFAULTS.items():
        flag = "set" if name == "overrides" else name.replace("_", "-")
        made.add_argument(f"--{flag}", default=str(default), dest=name)
    return made


def checked(given: dict[str, Any]) -> Run:
    """The run that parsed options ask for; raises ValueError."""
    seed, others = given["seed"], {name: given[name] for name in DEFAULTS if name != "seed"}
    return Run.checked(seed=int(seed) if seed.isascii() and seed.isdigit() else seed, **others)


def status(command: Callable[[], int]) -> int:
    """Runs a command: its exit status, 2 and one line for bad input, 130 for an interruption."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return command()
    except BAD_INPUT as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; finished stages are kept, the rest is as it was", file=sys.stderr)
        return 130


def outdated(stage: str, run: Run) -> str:
    """Why a stage must be run, in words; "" if its artifact and its executed notebook are up to date."""
    if reason := stale(stage, run):
        return reason
    if not notebooks.was_run(run.executed(stage)):
        return "its executed notebook is missing"
    made, told = manifest.read(run.folder(stage)) or {}, manifest.told(run.results).get(stage)
    same = told is not None and manifest.state(told) == manifest.state(made)
    return "" if same else "its executed notebook is of another run"


def require_fresh(run: Run, stages: Sequence[str] = ()) -> dict[str, dict]:
    """The manifests of a run's stages (all, if none is named); raises ArtifactError for the first that is not fresh."""
    for stage in stages or STAGES:
        if reason := outdated(stage, run):
            of = f"{stage} of {run.profile}/{run.label}, seed {run.seed}"
            raise ArtifactError(f"{of}, is not fresh, since {reason}; run `{run.command('reproduce')}` first")
    return {stage: manifest.read(run.folder(stage)) or {} for stage in stages or STAGES}
