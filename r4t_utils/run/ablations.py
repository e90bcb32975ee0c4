"""Tunes policies by other rewards and says what each part of the reward does: `make ablations SEEDS="0 1 2"`.

    python -m r4t_utils.run.ablations --profile cpu --dataset sample --seeds "0 1 2"

Notebooks 1 and 2 of every seed are run first, where they are not fresh. Writes artifacts/<profile>/<label>/ablations/:
trials/ (a file per trial, kept: a run that was stopped goes on behind the last), ablations.csv (the curves),
ablations_gained.csv (quality above the default reward's), ablations_said.csv (what the policies say to one query),
best_of.csv (best-of-N), two figures, claims.json and manifest.json. Exit status as of `pipeline`.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from r4t_utils.machine.device import side_by_side
from r4t_utils.run import command, files, manifest, paths, pipeline, profiles
from r4t_utils.run.code import module_hash
from r4t_utils.run.run import Run
from r4t_utils.run.seeds import asked

AT_ONCE = 2  # trials, each on a thread of its own
NEEDED = "01_data_curation", "02_rl_fanout"
BEST_OF = "best of N"
FOLDER, TRIALS = "ablations", "trials"


def trials(runs: Sequence[Run]) -> dict[Path, tuple[list[str], Run]]:
    """Every trial: the file that it fills, named after all that it is made from; its names (variants, several where a
    profile makes them the same, or `BEST_OF`); and a run with its settings."""
    from r4t_utils.evaluation.variants import STEPS, VARIANTS

    code = module_hash("r4t_utils.evaluation.trials")
    found: dict[Path, tuple[list[str], Run]] = {}
    for run in runs:  # seed by seed, so that a run that is stopped leaves whole seeds
        for name in (*VARIANTS, BEST_OF):
            varied = run
            if name in VARIANTS:
                given = profiles.parse(run.overrides) | {"rl.steps": STEPS} | profiles.parse(VARIANTS[name].overrides)
                given["rl.steps"] = min(int(given["rl.steps"]), 2 * run.settings.rl.steps)  # a smoke run stays one
                settings = profiles.load(run.profile, " ".join(f"{key}={value}" for key, value in given.items()))
                varied = replace(run, settings=settings)
            rests_on = {stage: (manifest.read(run.folder(stage)) or {}).get("digest") for stage in NEEDED}
            facts = [name == BEST_OF, run.seed, varied.settings.model_dump(mode="json"), rests_on, code]
            key = files.text_hash(files.to_json(facts))
            found.setdefault(run.ablations / TRIALS / f"{key[:16]}.parquet", ([], varied))[0].append(name)
    return found


def fill(file: Path, name: str, run: Run) -> None:
    """Makes one trial and keeps what was seen."""
    from r4t_utils.evaluation.claims import FOLM, ZERO_SHOT
    from r4t_utils.evaluation.trials import best_of, trial
    from r4t_utils.evaluation.variants import VARIANTS
    from r4t_utils.space.database import Database

    began = time.monotonic()
    database, policies = Database.load(run.folder(NEEDED[0]) / "database"), run.folder(NEEDED[1])
    if name == BEST_OF:
        seen = best_of(database, {ZERO_SHOT: policies / "zero_shot", FOLM: policies / "oar"}, run.settings, run.seed)
    else:
        own = "folm." in VARIANTS[name].overrides  # another policy than the run's, so another zero-shot one
        with tempfile.TemporaryDirectory() as scratch:
            zero_shot = None if own else policies / "zero_shot"
            seen = trial(database, zero_shot, run.settings, run.seed, Path(scratch))
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    seen.assign(seed=run.seed, took=time.monotonic() - began).to_parquet(partial)
    os.replace(partial, file)


def ablate(runs: Sequence[Run]) -> int:
    """Makes the trials that are missing, two at a time, and gathers; returns an exit status."""
    for run in runs:
        if status := pipeline.reproduce(run, NEEDED):
            return status
    todo = trials(runs)
    next(iter(todo)).parent.mkdir(parents=True, exist_ok=True)
    missing = [file for file in todo if not file.is_file()]
    print(f"{len(todo)} trials, of which {len(missing)} are to be made", flush=True)
    labels = {}
    for i, file in enumerate(missing, 1):
        names, run = todo[file]
        labels[f"[{i}/{len(missing)}] {names[0]}, seed {run.seed}"] = file

    def make(label: str) -> None:
        print(label, file=sys.stderr, flush=True)  # what goes to stdout is shown in the end
        names, run = todo[labels[label]]
        fill(labels[label], names[0], run)

    if missing:
        side_by_side(make, labels, AT_ONCE)
    gather(runs, todo)
    print(f"tables over {len(runs)} seeds: {paths.shown(runs[0].ablations)}/")
    return 0


def gather(runs: Sequence[Run], made: dict[Path, tuple[list[str], Run]]) -> None:
    """Writes the tables, figures and manifest from what the trials of these runs saw, and prints the claims."""
    import pandas as pd

    from r4t_utils.evaluation import drawing, variants, verdicts
    from r4t_utils.evaluation.claims import ABLATED

    run = runs[0]
    kept = {file: pd.read_parquet(file) for file in made}
    seconds = sum(part.pop("took").iloc[0] for part in kept.values()) / AT_ONCE
    parts = [kept[file].assign(variant=name) for file, (names, _) in made.items() for name in names]
    seen = pd.concat([part for part in parts if "step" in part], ignore_index=True)
    chosen = pd.concat([part for part in parts if "step" not in part], ignore_index=True)
    measured = verdicts.measure(variants.scores(seen), run.settings.evaluation.bootstrap, 0, (ABLATED,))
    table = verdicts.table(measured, untested=False)
    files.write_text(run.ablations / "claims.json", files.to_json(table))
    frames = {"ablations": variants.curves(seen), "ablations_said": variants.said(seen)}
    frames["best_of"] = variants.best_of(chosen)
    frames["ablations_gained"] = variants.gained(seen, run.settings.evaluation.bootstrap)
    for name, frame in frames.items():
        files.write_text(run.ablations / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
    for name in ("ablations", "best_of"):
        drawing.draw(name, run.ablations)
    facts = {"trials": sorted(file.name for file in made), "seeds": [run.seed for run in runs], "code": _told_by()}
    facts |= manifest.provenance() | {"seconds": round(float(seconds))}
    facts |= {"variants": {name: variant.overrides for name, variant in variants.VARIANTS.items()}}
    files.write_text(run.ablations / manifest.FILE, files.to_json(facts))
    for row in table:
        print(f"{row['id']} {row['verdict']}: {row['claim']} {row['ours']}")


def _told_by() -> str:
    """Hash of the code that makes tables and claims of the trials."""
    return files.text_hash(module_hash("r4t_utils.evaluation.variants") + module_hash("r4t_utils.evaluation.verdicts"))


def outdated(run: Run) -> str:
    """Why the tables there are not those of the runs there, in words; "" if they are, or if there are none."""
    if not run.ablations.is_dir():
        return ""
    try:
        facts = json.loads((run.ablations / manifest.FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "it was not finished"
    wanted = trials([replace(run, seed=seed) for seed in facts["seeds"]])
    same = {file.name for file in wanted} == set(facts["trials"]) and facts.get("code") == _told_by()
    return "" if same else "its settings, its code or the runs that it rests on have changed"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return command.status(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    return ablate(
        asked(argv, "ablations", "Tune policies by other rewards, then say what each part of the reward does.")
    )


if __name__ == "__main__":
    sys.exit(main())
