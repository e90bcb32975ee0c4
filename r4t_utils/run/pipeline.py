"""Runs the notebooks in order and skips what is fresh.

    python -m r4t_utils.run.pipeline --profile cpu --dataset sample --seed 0 --set "rl.steps=20" [--only 04]

Exit status: 0 done or nothing to do, 1 a notebook failed, 2 bad input (nothing was started), 130 interrupted.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace

from r4t_utils.data.polyvore import DataError
from r4t_utils.run import files, kernel, manifest, notebooks, paths
from r4t_utils.run.run import DEFAULTS, Run
from r4t_utils.run.stage import STAGES, ArtifactError, require_inputs, require_writable, stale
from r4t_utils.settings import SettingsError

BAD_INPUT = SettingsError, DataError, ArtifactError
# What results/ says of each stage; the rest of its manifest stays with the artifact.
TOLD = ("seed", "overrides", "settings", "digest", "inputs", "code", "data", "results", "summary")
TOLD += ("commit", "versions", "hardware")


def outdated(stage: str, run: Run) -> str:
    """Why a stage must be run, in words; "" if its artifact and its executed notebook are up to date."""
    if reason := stale(stage, run):
        return reason
    made = manifest.read(run.folder(stage)) or {}  # perhaps by a run whose other settings this stage does not read
    ran = notebooks.was_run(replace(run, overrides=made["overrides"]).executed(stage))
    return "" if ran else "its executed notebook is missing"


def check(stages: Sequence[str], run: Run, only: bool) -> None:
    """Everything that can be known to be wrong before a notebook starts; raises ValueError."""
    for stage in stages:
        notebooks.require_parameters(paths.notebook(stage))
    if only:
        require_inputs(stages[0], run, outdated)
    require_writable(run)


def reproduce(run: Run, stages: Sequence[str] = tuple(STAGES), only: bool = False) -> int:
    """Runs the stages that are not fresh (with `only`, the one given in any case); returns an exit status.

    Raises ValueError before anything starts for what can be known to be wrong.
    """
    if not only and not any(outdated(stage, run) for stage in stages):
        print(f"Nothing to do: {len(stages)} stages are fresh.")
        return 0
    check(stages, run, only)
    settings = f", with {run.overrides}" if run.overrides else ""
    print(f"profile {run.profile}, data {run.label}, seed {run.seed}{settings}", flush=True)
    for place, stage in enumerate(stages, 1):
        reason = "asked for" if only else outdated(stage, run)
        print(f"[{place}/{len(stages)}] {stage}: {f'running ({reason})' if reason else 'fresh'}", flush=True)
        if not reason:
            continue
        try:
            seconds, peak = kernel.execute(stage, run)
        except kernel.StageFailed as error:
            print(f"error: {stage} failed: {error}", file=sys.stderr)
            kept = kernel.failed(stage, run)
            if kept.is_file():
                print(f"see {kept}; earlier results of this stage are untouched", file=sys.stderr)
            return 1
        print(f"    {seconds:.1f} s, peak memory {peak:.0f} MB", flush=True)
        _record(run, stage, seconds, peak)
    return 0


def _record(run: Run, stage: str, seconds: float, peak: float) -> None:
    """Puts a stage into results/.../manifest.json: what its results were made from, and what that took.

    Stages recorded before stay, each with the settings that it had itself; those that rested on another version of
    this one say so.
    """
    path = run.results / manifest.FILE
    try:
        stages = json.loads(path.read_text(encoding="utf-8"))["stages"]
    except (OSError, ValueError, KeyError):
        stages = {}
    made = manifest.read(run.folder(stage)) or {}
    cost = {"seconds": round(seconds, 1), "peak_memory_mb": round(peak)}
    stages[stage] = {key: made[key] for key in TOLD} | cost
    for facts in stages.values():
        facts.pop("outdated", None)
        for need, digest in facts["inputs"].items():
            if stages.get(need, {}).get("digest") != digest or "outdated" in stages[need]:
                facts["outdated"] = f"{need} has been made anew since"
    facts = {"profile": run.profile, "dataset": run.dataset, "label": run.label}
    files.write_text(path, files.to_json(facts | {"stages": stages}))


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise SettingsError(f"{message}; see python -m r4t_utils.run.pipeline --help")


def _parsed(argv: Sequence[str] | None) -> tuple[Run, list[str], bool]:
    parser = _Parser(prog="r4t_utils.run.pipeline", allow_abbrev=False, description="Run the notebooks in order.")
    for name, default in DEFAULTS.items():
        flag = "set" if name == "overrides" else name.replace("_", "-")
        parser.add_argument(f"--{flag}", default=str(default), dest=name)
    parser.add_argument("--only", default="", metavar="NN", help="one stage; its inputs must be fresh")
    given = vars(parser.parse_args(argv))
    only = given.pop("only")
    seed = given.pop("seed")
    run = Run.checked(seed=int(seed) if seed.isascii() and seed.isdigit() else seed, **given)
    stages = [name for name in STAGES if not only or only in (name, name[:2])]
    if not stages:
        raise SettingsError(f"stage {only!r} is not known; choose one of {', '.join(STAGES)}")
    return run, stages, bool(only)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return reproduce(*_parsed(argv))
    except BAD_INPUT as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; finished stages are kept, the rest is as it was", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
