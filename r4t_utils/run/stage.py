"""Stages and what they hand on. A notebook opens with `begin(...)`, which checks everything before any work,
and closes with `finish(...)`, which publishes results and then its folder in one rename: an interrupted run leaves the
artifact as it was, and a stage whose results are not its artifact's is not fresh.

A stage is fresh when the settings that it declares, seed, inputs, code and files have the hashes that its manifest
recorded; timestamps play no part. It can read no other setting, so freshness cannot be wrong.
"""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

from r4t_utils.machine.checks import file_hash
from r4t_utils.machine.device import fix_threads
from r4t_utils.run import files, manifest, memory, needs, paths, profiles
from r4t_utils.run.code import code_hash
from r4t_utils.run.run import Run
from r4t_utils.settings import SECTIONS, Settings, SettingsError


@dataclass(frozen=True)
class Recipe:
    """What a stage is made from: sections of the settings (or single ones, as "folm.k"), and earlier stages."""

    reads: tuple[str, ...]
    needs: tuple[str, ...]


STAGES = {
    "01_data_curation": Recipe(("corpus", "encoder", "folm.k"), ()),
    "02_rl_fanout": Recipe(("folm", "rl"), ("01_data_curation",)),
    "03_pair_synthesis": Recipe(("folm", "synthesis"), ("01_data_curation", "02_rl_fanout")),
    "04_diffusion_training": Recipe(
        ("diffusion", "folm.k", "merging", "synthesis.slots"), ("01_data_curation", "03_pair_synthesis")
    ),
    "05_evaluation": Recipe(
        ("folm", "rl", "merging", "evaluation"),
        ("01_data_curation", "02_rl_fanout", "03_pair_synthesis", "04_diffusion_training"),
    ),
    "06_latency_study": Recipe(
        ("folm", "latency", "evaluation.bootstrap"), ("01_data_curation", "02_rl_fanout", "04_diffusion_training")
    ),
}


class ArtifactError(ValueError):
    """An artifact that is missing, damaged, or made with other settings than this run's."""


class Declared(SimpleNamespace):
    """The settings that a stage declares; to read any other is an error."""

    def __getattr__(self, name: str) -> Any:  # only what is missing comes here
        if name.startswith("_"):
            raise AttributeError(name)
        reason = f"this stage does not declare the setting {name!r}, so a change of it would go unnoticed"
        raise SettingsError(f"{reason}; add it to `reads` of the stage's recipe in r4t_utils/run/stage.py")


def _keys(stage: str) -> dict[str, set[str]]:
    """{section: the settings of it that a stage declares}."""
    found: dict[str, set[str]] = {}
    for name in STAGES[stage].reads:
        section, _, key = name.partition(".")
        found.setdefault(section, set()).update([key] if key else SECTIONS[section].model_fields)
    return found


def declared(settings: Settings, stage: str) -> Declared:
    """What a stage may read: whole sections as they are, and single settings of others."""
    view: dict[str, Any] = {}
    for section, keys in _keys(stage).items():
        whole = getattr(settings, section)
        part = Declared(**{key: getattr(whole, key) for key in keys})
        view[section] = whole if section in STAGES[stage].reads else part
    return Declared(**view)


def declared_dict(settings: Settings, stage: str) -> dict[str, dict]:
    """The same as plain nested dicts, for hashing and recording."""
    return settings.model_dump(mode="json", include=_keys(stage))


def _flat(sections: dict[str, dict]) -> dict[str, Any]:
    return {f"{section}.{key}": value for section, facts in sections.items() for key, value in facts.items()}


def problem(stage: str, run: Run) -> str:
    """Why a finished stage cannot serve this run, in words; "" if it is whole and made with its settings."""
    folder = run.folder(stage)
    files.restore(folder)
    if not folder.is_dir():
        return "it has not been made"
    made = manifest.read(folder)
    if made is None:
        return "its manifest is missing or damaged"
    for key, wanted in (("stage", stage), ("profile", run.profile), ("label", run.label), ("seed", run.seed)):
        if made[key] != wanted:
            return f"it was made with {key}={made[key]!r}, and this run asks for {wanted!r}"
    for section, wanted in declared_dict(run.settings, stage).items():
        was = made["settings"].get(section, {})
        for key in wanted:
            if was.get(key) != wanted[key]:
                return f"it was made with {section}.{key}={was.get(key)!r}, and this run asks for {wanted[key]!r}"
    for need, digest in made["inputs"].items():
        now = manifest.read(run.folder(need))
        if now is not None and now["digest"] != digest:
            return f"{need} has been made anew since"
    return manifest.damage(folder, made)


def stale(stage: str, run: Run) -> str:
    """Why a stage must be run (again), in words; "" if it is fresh: inputs, code and results as they were."""
    if reason := problem(stage, run):
        return reason
    made = manifest.read(run.folder(stage)) or {}
    for need in made["inputs"]:
        if manifest.read(run.folder(need)) is None:
            return f"{need} is missing"
    if made["data"] != _data(stage, run):
        return "the data folder has changed"
    if made["code"] != _code(stage):
        return "its code has changed"
    for name, was in made["results"].items():
        path = run.results / name
        if not path.is_file() or file_hash(path) != was:
            return f"its result {name} is missing or has changed"
    return ""


def require_inputs(stage: str, run: Run, judge: Callable[[str, Run], str] = problem) -> None:
    """Raises ArtifactError for the first stage that this one rests on, directly or not, and `judge` finds wanting."""
    resting_on, waiting = set(), list(STAGES[stage].needs)
    while waiting:
        need = waiting.pop()
        resting_on.add(need)
        waiting += STAGES[need].needs
    for need in sorted(resting_on):
        if reason := judge(need, run):
            remedy = f"run `{run.command(need[:2])}` first"
            raise ArtifactError(f"{stage} needs {need} of {run.profile}/{run.label}, but {reason}; {remedy}")


def _code(stage: str) -> str:
    """Hash of a notebook's code, and of the paper's values of what it declares: it shows them, and may compute with
    them."""
    paper = declared_dict(profiles.load("paper"), stage)
    return files.text_hash(code_hash(paths.notebook(stage)) + files.to_json(paper))


def _data(stage: str, run: Run) -> str:
    """Hash of the data files at the top of the data folder for the stage that reads it; "" without a folder."""
    if STAGES[stage].needs or run.data_dir is None:
        return ""
    try:
        found = sorted(
            p for p in run.data_dir.iterdir() if p.is_file() and p.suffix in (".json", ".jsonl", ".gz", ".txt")
        )
        return files.text_hash(files.to_json({p.name: file_hash(p) for p in found}))
    except OSError as error:
        raise ArtifactError(f"data_dir holds a file that cannot be read ({error}); restore it") from None


def begin(stage: str, *, profile: str, dataset: str, data_dir: str = "", seed: int = 0, overrides: str = "") -> "Stage":
    """Opens a stage: checks its parameters and inputs, then makes an empty folder to work in.

    Raises SettingsError or ArtifactError (both ValueError) before any work, leaving everything as it was.
    """
    if stage not in STAGES:
        raise SettingsError(f"stage {stage!r} is not known; the stages are {', '.join(STAGES)}")
    run = Run.checked(profile, dataset, data_dir, seed, overrides)
    require_inputs(stage, run)
    needs.require(run)
    if warning := needs.without_gpu(run):
        print(warning)
    data, code = _data(stage, run), _code(stage)
    sweep(stage, run)
    fix_threads()
    memory.watch(stage)
    return Stage(stage, run, data, code)


class Stage:
    """One notebook at work in a run: files go to `path(name)`, numbers to `record(name, table)`; `finish()` publishes.

    `results` is the folder of this run's numbers and figures for readers: a temporary one until `finish()` moves its
    files to the run's own, and that folder from then on.
    """

    def __init__(self, name: str, run: Run, data: str, code: str):
        self.name, self.run, self._data, self._code = name, run, data, code
        self.dataset, self.data_dir, self.seed = run.dataset, run.data_dir, run.seed
        self.settings = declared(run.settings, name)
        partial = f".{name}.{os.getpid()}.partial"
        self._work, self.results = run.artifacts / partial, run.results / partial
        for folder in (self._work, self.results):
            folder.mkdir(parents=True)
        self._began, self._recorded = time.monotonic(), {}
        made = {need: manifest.read(run.folder(need)) or {} for need in STAGES[name].needs}
        self._inputs = {need: facts["digest"] for need, facts in made.items()}

    def path(self, name: str) -> Path:
        """Where to write a file (or folder) of this stage; its parents exist."""
        self._require_open(name)
        path = (self._work / name).resolve()
        if self._work.resolve() not in path.parents:
            raise ArtifactError(f"name={name!r} leads out of the stage's folder; give a plain relative name")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def checkpoints(self, name: str, *sections: str) -> Path:
        """Where to keep what a run that was killed goes on from; found again by the same settings, seed, inputs, data
        and code, and by them alone. With `sections` only their settings count, such as "folm" of a warm-up, which a run
        with other rewards need not repeat. `finish` removes it."""
        self._require_open(name)
        settings = declared_dict(self.run.settings, self.name)
        deciding = {section: settings[section] for section in sections or settings}
        facts = [deciding, self.seed, self._inputs, self._data, self._code]
        return self.run.artifacts / f".{self.name}.{files.text_hash(files.to_json(facts))[:16]}.checkpoints" / name

    def input(self, stage: str) -> Path:
        """The folder of an earlier stage, verified by `begin`."""
        if stage not in self._inputs:
            needed = ", ".join(self._inputs) or "none"
            raise ArtifactError(f"{self.name} does not read {stage!r}; it reads {needed}")
        return self.run.folder(stage)

    def record(self, name: str, table: Any) -> None:
        """Writes a DataFrame as <name>.csv, a dict or list as <name>.json, into `results`. Raises ArtifactError for
        a name with a folder in it."""
        self._require_open(name)
        if Path(name).name != name:
            raise ArtifactError(f"name={name!r} must be that of a file in the folder of results; leave out the folders")
        is_table = hasattr(table, "to_csv")
        path = self.results / f"{name}{'.csv' if is_table else '.json'}"
        text = table.to_csv(index=False, lineterminator="\n") if is_table else files.to_json(table)
        files.write_text(path, text)
        self._recorded[path.name] = files.text_hash(text)

    def _require_open(self, name: str) -> None:
        if not self._work.is_dir():
            raise ArtifactError(f"{self.name} is finished; run it from `begin` again to write {name!r}")

    def table(self) -> Any:
        """The settings that this stage declares, folded: each with its value, that of profile paper, and what it is."""
        import pandas as pd

        from r4t_utils.evaluation.tables import show

        here, paper = (_flat(declared_dict(each, self.name)) for each in (self.run.settings, profiles.load("paper")))
        meanings = profiles.notes("paper")
        rows = [(name, value, paper[name], meanings[name]) for name, value in here.items()]
        where = f"profile {self.run.profile}, data {self.run.label}, seed {self.seed}"
        other = sum(value != paper[name] for name, value in here.items())
        fold = f"Settings: {where}; {other} of {len(here)} differ from the paper's profile (click to see all)"
        return show(pd.DataFrame(rows, columns=["setting", "here", "profile paper", "note on the latter"]), fold=fold)

    def finish(self, **summary: Any) -> None:
        """Writes the manifest with a `summary` of numbers, publishes files and results, and says what was written."""
        self._require_open("a manifest")
        run, found, shown = self.run, files.folder_hashes(self._work), files.folder_hashes(self.results)
        facts: dict[str, Any] = {key: getattr(run, key) for key in ("profile", "dataset", "label", "seed", "overrides")}
        facts |= {"stage": self.name, "settings": declared_dict(run.settings, self.name), "inputs": self._inputs}
        facts |= {"data": self._data, "code": self._code, "files": found, "results": self._recorded}
        facts["figures"] = sorted(shown.keys() - self._recorded.keys())
        facts |= {"summary": summary, "wall_time_s": round(time.monotonic() - self._began, 1), **manifest.provenance()}
        facts["digest"] = manifest.digest(facts)
        files.write_text(self._work / manifest.FILE, files.to_json(facts))
        files.move_files(self.results, run.results)
        self.results = run.results
        files.replace({run.folder(self.name): self._work})
        for left in run.artifacts.glob(f".{self.name}.*.checkpoints"):
            shutil.rmtree(left)
        written = _count(len(found), "file"), _count(len(self._recorded), "table")
        print("{}: {} for the next notebooks, {} for readers".format(self.name, *written))


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def partials(stage: str, run: Run) -> list[Path]:
    """The unfinished folders of a stage, of every process."""
    return [path for parent in (run.artifacts, run.results) for path in sorted(parent.glob(f".{stage}.*.partial"))]


def sweep(stage: str, run: Run) -> None:
    """Removes what dead processes, or this one earlier, left half done."""
    for left in partials(stage, run):
        pid = int(left.name.split(".")[-2])
        if pid == os.getpid() or not psutil.pid_exists(pid):
            shutil.rmtree(left)
