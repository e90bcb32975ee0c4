"""Runs the notebooks in order and skips what is fresh.

    python -m r4t_utils.run.pipeline --profile cpu --dataset sample --seed 0 --set "rl.steps=20" [--only 04]

Exit status: 0 done or nothing to do, 1 a notebook failed, 2 bad input (nothing was started), 130 interrupted.
"""

import argparse
import csv
import io
import signal
import sys

from r4t_utils.run import manifest as manifests
from r4t_utils.run import paths, publish
from r4t_utils.run import stage as artifacts
from r4t_utils.run.kernel import StageFailed, execute
from r4t_utils.run.run import Context, context
from r4t_utils.run.stage import STAGES, ArtifactError
from r4t_utils.settings import SettingsError


def outdated(stage: str, run: Context) -> str:
    """Why a stage must be run, in words; "" if its artifact and its executed notebook are up to date."""
    reason = artifacts.stale(stage, run)
    if not reason and not paths.executed(run.profile, run.label, stage).is_file():
        return "its executed notebook is missing"
    return reason


def check(stages, run: Context, only: bool) -> None:
    """Everything that can be known to be wrong before a notebook starts; raises ValueError."""
    for stage in stages:
        names = sorted(publish.parameters(publish.read(paths.notebook(stage))))
        if names != sorted(publish.PARAMETERS):
            found = ", ".join(names) or "nothing"
            raise SettingsError(
                f"{stage}.ipynb: its parameters cell sets {found}; it must set "
                f"{', '.join(publish.PARAMETERS)} to plain literals"
            )
    if only:
        artifacts.require_inputs(stages[0], run, outdated)


def reproduce(run: Context, stages=tuple(STAGES), only: bool = False) -> int:
    """Runs the stages that are not fresh (with `only`, the one given in any case); returns an exit status."""
    print(
        f"profile {run.profile}, data {run.label}, seed {run.seed}"
        + (f", with {run.overrides}" if run.overrides else ""),
        flush=True,
    )
    ran = {}
    for place, stage in enumerate(stages, 1):
        reason = "asked for" if only else outdated(stage, run)
        if not reason:
            print(f"[{place}/{len(stages)}] {stage}: fresh", flush=True)
            continue
        print(f"[{place}/{len(stages)}] {stage}: running ({reason})", flush=True)
        try:
            ran[stage] = execute(stage, run)
        except StageFailed as error:
            print(f"error: {stage} failed: {error}", file=sys.stderr)
            kept = paths.failed(run.profile, run.label, stage)
            if kept.is_file():
                print(f"see {kept}; earlier results of this stage are untouched", file=sys.stderr)
            return 1
        _record(run, ran)
    if ran:
        _summarise(ran)
    else:
        print(f"Nothing to do: {len(stages)} stages are fresh.")
    return 0


def _record(run: Context, ran: dict) -> None:
    """Writes run.csv (times of each stage's last run) and manifest.json (what the results were made from)."""
    path = run.results / "run.csv"
    rows = {row["stage"]: row for row in csv.DictReader(path.open())} if path.is_file() else {}
    for stage, (seconds, peak) in ran.items():
        rows[stage] = {"stage": stage, "seconds": f"{seconds:.1f}", "peak_memory_mb": f"{peak:.0f}"}
    text = io.StringIO()
    table = csv.DictWriter(text, ["stage", "seconds", "peak_memory_mb"], lineterminator="\n")
    table.writeheader()
    table.writerows(rows[stage] for stage in STAGES if stage in rows)
    manifests.write_text(path, text.getvalue())
    usable = [stage for stage in STAGES if not artifacts.problem(stage, run)]
    made = {stage: manifests.read(run.folder(stage)) for stage in usable}
    kept = ("digest", "inputs", "code", "data", "results", "summary", "wall_time_s", "commit")
    latest = manifests.provenance() if not made else made[usable[-1]]
    manifests.write_text(
        paths.manifest(run.results),
        manifests.to_json(
            {
                "profile": run.profile,
                "dataset": run.dataset,
                "label": run.label,
                "seed": run.seed,
                "overrides": run.overrides,
                "settings": run.settings.section_dict(),
                "versions": latest["versions"],
                "hardware": latest["hardware"],
                "stages": {stage: {key: manifest[key] for key in kept} for stage, manifest in made.items()},
            }
        ),
    )


def _summarise(ran: dict) -> None:
    print(f"\n{'stage':<24}{'seconds':>9}{'peak memory, MB':>18}")
    for stage, (seconds, peak) in ran.items():
        print(f"{stage:<24}{seconds:>9.1f}{peak:>18.0f}")
    print(f"{'all':<24}{sum(s for s, _ in ran.values()):>9.1f}{max(p for _, p in ran.values()):>18.0f}")


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise SettingsError(f"{message}; see python -m r4t_utils.run.pipeline --help")


def _parsed(argv) -> tuple[Context, list[str], bool]:
    parser = _Parser(prog="r4t_utils.run.pipeline", allow_abbrev=False, description="Run the notebooks in order.")
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--dataset", default="sample")
    parser.add_argument("--data-dir", default="")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--set", default="", dest="overrides", metavar='"section.name=value ..."')
    parser.add_argument("--only", default="", metavar="NN", help="one stage; its inputs must be fresh")
    given = parser.parse_args(argv)
    seed = int(given.seed) if given.seed.isascii() and given.seed.isdigit() else given.seed
    run = context(given.profile, given.dataset, given.data_dir, seed, given.overrides)
    stages = [name for name in STAGES if not given.only or given.only in (name, name[:2])]
    if not stages:
        raise SettingsError(f"stage {given.only!r} is not known; choose one of {', '.join(STAGES)}")
    return run, stages, bool(given.only)


def main(argv=None) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run, stages, only = _parsed(argv)
        check(stages, run, only)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        return reproduce(run, stages, only)
    except ArtifactError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; finished stages are kept, the rest is as it was", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
