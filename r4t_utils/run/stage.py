"""Stages and what they hand on. A notebook opens with `begin(...)`, which checks everything before any work,
and closes with `finish(...)`, which publishes its folder in one rename; an interrupted run changes nothing.

A stage is fresh when settings, seed, inputs, code and files have the hashes that its manifest recorded;
timestamps play no part.
"""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from r4t_utils.run import manifest as manifests
from r4t_utils.run import paths
from r4t_utils.run.run import Context, context
from r4t_utils.settings import SettingsError


@dataclass(frozen=True)
class Stage:
    """What a stage is made from: sections of the settings, and earlier stages."""

    sections: tuple[str, ...]
    needs: tuple[str, ...]


STAGES = {
    "01_data_curation": Stage(("corpus", "encoder"), ()),
    "02_rl_fanout": Stage(("folm", "rl"), ("01_data_curation",)),
    "03_pair_synthesis": Stage(("folm", "synthesis"), ("01_data_curation", "02_rl_fanout")),
    "04_diffusion_training": Stage(("diffusion",), ("01_data_curation", "03_pair_synthesis")),
    "05_evaluation": Stage(
        ("folm", "rl", "synthesis", "diffusion", "evaluation"),
        ("01_data_curation", "02_rl_fanout", "03_pair_synthesis", "04_diffusion_training"),
    ),
    "06_latency_study": Stage(("latency", "diffusion"), ("01_data_curation", "02_rl_fanout", "04_diffusion_training")),
}


class ArtifactError(ValueError):
    """An artifact that is missing, damaged, or made with other settings than this run's."""


def problem(stage: str, run: Context) -> str:
    """Why a finished stage cannot serve this run, in words; "" if it is whole and made with its settings."""
    folder = run.folder(stage)
    _restore(folder)
    if not folder.is_dir():
        return "it has not been made"
    manifest = manifests.read(folder)
    if manifest is None:
        return "its manifest is missing or damaged"
    for key, wanted in (("stage", stage), ("profile", run.profile), ("label", run.label), ("seed", run.seed)):
        if manifest[key] != wanted:
            return f"it was made with {key}={manifest[key]!r}, and this run asks for {wanted!r}"
    for section, wanted in run.settings.section_dict(STAGES[stage].sections).items():
        made = manifest["settings"].get(section, {})
        for key in wanted:
            if made.get(key) != wanted[key]:
                made_with, asked = f"{section}.{key}={made.get(key)!r}", repr(wanted[key])
                return f"it was made with {made_with}, and this run asks for {asked}"
    for need, was in manifest["inputs"].items():
        now = manifests.read(run.folder(need))
        if now is not None and now["digest"] != was:
            return f"{need} has been made anew since"
    return manifests.damage(folder, manifest)


def stale(stage: str, run: Context) -> str:
    """Why a stage must be run (again), in words; "" if it is fresh: inputs, code and results as they were."""
    reason = problem(stage, run)
    if reason:
        return reason
    manifest = manifests.read(run.folder(stage))
    for need in manifest["inputs"]:
        if manifests.read(run.folder(need)) is None:
            return f"{need} is missing"
    if manifest["data"] != _data(stage, run):
        return "the data folder has changed"
    if manifest["code"] != manifests.code_hash(paths.notebook(stage)):
        return "its code has changed"
    for name, was in manifest["results"].items():
        path = run.results / name
        if not path.is_file() or manifests.file_hash(path) != was:
            return f"its result {name} is missing or has changed"
    return ""


def require_inputs(stage: str, run: Context, judge=problem) -> None:
    """Raises ArtifactError for the first stage that this one needs and that `judge` finds wanting."""
    for need in STAGES[stage].needs:
        reason = judge(need, run)
        if reason:
            raise ArtifactError(
                f"{stage} needs {need} of {run.profile}/{run.label}, but {reason}; run `{run.command(need[:2])}` first"
            )


def _data(stage: str, run: Context) -> str:
    """Hash of the data folder for the stage that reads it."""
    try:
        return "" if STAGES[stage].needs else manifests.data_hash(run.data_dir)
    except OSError as error:
        raise ArtifactError(f"data_dir holds a file that cannot be read ({error}); restore it") from None


def begin(stage: str, *, profile: str, dataset: str, data_dir: str = "", seed: int = 0, overrides: str = "") -> "Run":
    """Opens a stage: checks its parameters and inputs, then makes an empty folder to work in.

    Raises SettingsError or ArtifactError (both ValueError) before any work, leaving everything as it was.
    """
    if stage not in STAGES:
        raise SettingsError(f"stage {stage!r} is not known; the stages are {', '.join(STAGES)}")
    run = context(profile, dataset, data_dir, seed, overrides)
    require_inputs(stage, run)
    data, code = _data(stage, run), manifests.code_hash(paths.notebook(stage))
    sweep(stage, run)
    return Run(stage, run, data, code)


class Run:
    """A stage at work: files go to `path(name)`, numbers to `record(name, table)`; `finish()` publishes.

    `results` is the folder of this run's recorded numbers and figures: a temporary one until `finish()` moves
    its files to results/<profile>/<label>/, and that folder from then on.
    """

    def __init__(self, stage: str, run: Context, data: str, code: str):
        self.stage, self.context, self._data, self._code = stage, run, data, code
        self.profile, self.dataset, self.data_dir = run.profile, run.dataset, run.data_dir
        self.seed, self.label, self.settings = run.seed, run.label, run.settings
        self._work = paths.partial(run.profile, run.label, stage, os.getpid())
        self.results = paths.partial_results(run.profile, run.label, stage, os.getpid())
        for folder in (self._work, self.results):
            folder.mkdir(parents=True)
        self._began, self._recorded = time.monotonic(), {}
        self._inputs = {need: manifests.read(run.folder(need))["digest"] for need in STAGES[stage].needs}

    def path(self, name: str) -> Path:
        """Where to write a file (or folder) of this stage; its parents exist."""
        self._require_open(name)
        path = (self._work / name).resolve()
        if self._work not in path.parents:
            raise ArtifactError(f"name={name!r} leads out of the stage's folder; give a plain relative name")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def input(self, stage: str) -> Path:
        """The folder of an earlier stage, verified by `begin`."""
        if stage not in self._inputs:
            needed = ", ".join(self._inputs) or "none"
            raise ArtifactError(f"{self.stage} does not read {stage!r}; it reads {needed}")
        return self.context.folder(stage)

    def record(self, name: str, table) -> None:
        """Writes a DataFrame as <name>.csv, a dict or list as <name>.json, into `results`."""
        self._require_open(name)
        is_table = hasattr(table, "to_csv")
        path = (self.results / name).with_suffix(".csv" if is_table else ".json")
        text = table.to_csv(index=False, lineterminator="\n") if is_table else manifests.to_json(table)
        manifests.write_text(path, text)
        self._recorded[path.name] = manifests.text_hash(text)

    def _require_open(self, name: str) -> None:
        if not self._work.is_dir():
            raise ArtifactError(f"{self.stage} is finished; run it from `begin` again to write {name!r}")

    def table(self):
        """DataFrame of the settings that this stage depends on: section, setting, value."""
        import pandas as pd

        sections = self.settings.section_dict(STAGES[self.stage].sections)
        rows = [(section, key, value) for section, facts in sections.items() for key, value in facts.items()]
        return pd.DataFrame(rows, columns=["section", "setting", "value"])

    def finish(self, **summary):
        """Writes the manifest, publishes files and results, and returns a DataFrame of the files, in kB."""
        import pandas as pd

        self._require_open("a manifest")
        manifest = {
            "stage": self.stage,
            "profile": self.profile,
            "dataset": self.dataset,
            "label": self.label,
            "seed": self.seed,
            "overrides": self.context.overrides,
            "settings": self.settings.section_dict(STAGES[self.stage].sections),
            "inputs": self._inputs,
            "data": self._data,
            "code": self._code,
            "files": manifests.folder_hashes(self._work),
            "results": self._recorded,
            "summary": summary,
            "wall_time_s": round(time.monotonic() - self._began, 1),
            **manifests.provenance(),
        }
        manifest["digest"] = manifests.digest(manifest)
        manifests.write_text(paths.manifest(self._work), manifests.to_json(manifest))
        _move_files(self.results, self.context.results)
        self.results = self.context.results
        _publish(self._work, self.context.folder(self.stage))
        rows = [(name, round(fact["bytes"] / 1000, 1)) for name, fact in manifest["files"].items()]
        return pd.DataFrame(rows, columns=["file", "kB"])


def _move_files(source: Path, target: Path) -> None:
    """Moves every file below `source` to its place below `target`, one rename each, and removes `source`."""
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)
    shutil.rmtree(source)


def _publish(work: Path, folder: Path) -> None:
    """Puts a finished folder in its predecessor's place; `_restore` brings that back if this is cut short."""
    waiting = paths.replaced(folder)
    _restore(folder)
    if folder.exists():
        os.replace(folder, waiting)
    os.replace(work, folder)
    shutil.rmtree(waiting, ignore_errors=True)


def _restore(folder: Path) -> None:
    waiting = paths.replaced(folder)
    if waiting.exists() and not folder.exists():
        os.replace(waiting, folder)
    shutil.rmtree(waiting, ignore_errors=True)


def sweep(stage: str, run: Context) -> None:
    """Removes what dead processes, or this one earlier, left half done."""
    for left in paths.partials(run.profile, run.label, stage):
        pid = int(left.name.split(".")[-2])
        if pid == os.getpid() or not psutil.pid_exists(pid):
            shutil.rmtree(left)
