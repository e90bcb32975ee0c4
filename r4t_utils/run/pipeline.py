"""Runs the notebooks in order and skips what is fresh.

    python -m r4t_utils.run.pipeline --profile cpu --dataset sample --seed 0 --set "rl.steps=20" [--only 04]

Exit status: 0 done or nothing to do, 1 a notebook failed, 2 bad input (nothing was started), 130 interrupted.
"""

import sys
from collections.abc import Sequence

from r4t_utils.run import command, files, kernel, manifest, needs, notebooks, paths
from r4t_utils.run.command import outdated
from r4t_utils.run.run import Run
from r4t_utils.run.stage import STAGES, require_inputs
from r4t_utils.settings import SettingsError

# What the results say of each stage; the rest of its manifest stays with the artifact.
TOLD = ("seed", "overrides", "settings", "digest", "inputs", "code", "data", "results", "summary")
TOLD += ("commit", "versions", "hardware")


def check(stages: Sequence[str], run: Run, only: bool) -> None:
    """Everything that can be known to be wrong before a notebook starts; raises ValueError."""
    for stage in stages:
        notebooks.require_parameters(paths.notebook(stage))
    if only:
        require_inputs(stages[0], run, outdated)
    needs.require(run)


def reproduce(run: Run, stages: Sequence[str] = (), only: bool = False) -> int:
    """Runs the stages that are not fresh, of all if none is named; with `only`, the one given in any case.

    Returns an exit status. Raises ValueError before anything starts for what can be known to be wrong.
    """
    stages = stages or tuple(STAGES)
    reasons = {stage: "asked for" if only else outdated(stage, run) for stage in stages}
    if not any(reasons.values()):
        print(f"Nothing to do: {len(stages)} stages are fresh.")
        _tell(run)
        return 0
    check(stages, run, only)
    settings = f", with {run.overrides}" if run.overrides else ""
    print(f"profile {run.profile}, data {run.label}, seed {run.seed}{settings}", flush=True)
    if warning := needs.without_gpu(run):
        print(warning, flush=True)
    made: set[str] = set()
    for place, stage in enumerate(stages, 1):
        # Nothing else changes meanwhile, so a stage is asked again only where one that it needs has been made.
        reason = outdated(stage, run) if made.intersection(STAGES[stage].needs) else reasons[stage]
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
        made.add(stage)
        _record(run, stage, seconds, peak)
    _tell(run)
    return 0


def _tell(run: Run) -> None:
    """Where the outputs of a run are, and how they are kept."""
    folders = [f"{paths.shown(folder)}/" for folder in (run.results, run.executed("").parent)]
    print("outputs: tables and figures in {}, executed notebooks in {}".format(*folders))
    print(f"compare them with what is recorded: {run.command('compare')}; record them: {run.command('record')}")


def _record(run: Run, stage: str, seconds: float, peak: float) -> None:
    """Puts a stage into manifest.json of the results: what its results were made from, and what that took.

    Stages put there before stay, each with the settings that it had itself; those that rested on another version of
    this one say so.
    """
    path = run.results / manifest.FILE
    stages = manifest.told(run.results)
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


def _parsed(argv: Sequence[str] | None) -> tuple[Run, list[str], bool]:
    parser = command.parser("pipeline", "Run the notebooks in order.")
    parser.add_argument("--only", default="", metavar="NN", help="one stage; its inputs must be fresh")
    given = vars(parser.parse_args(argv))
    run, only = command.checked(given), given["only"]
    stages = [name for name in STAGES if not only or only in (name, name[:2])]
    if not stages:
        raise SettingsError(f"stage {only!r} is not known; choose one of {', '.join(STAGES)}")
    return run, stages, bool(only)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return command.status(lambda: reproduce(*_parsed(argv)))


if __name__ == "__main__":
    sys.exit(main())
