"""Records a fresh run for readers: `make record`, with the variables of the run.

    python -m r4t_utils.run.record --profile cpu --dataset sample --seed 0

Puts its tables, figures and manifest into results/<profile>/<label>/, with the claims over seeds and seeds.csv where
`make seeds` has made them, and ablations/ where `make ablations` has; of the default run, the outputs of its executed
notebooks into notebooks/, and what `blocks` makes of the results between the marks that a notebook has for it. All of
it or nothing. Exit status: 0 done, 2 bad input, such as a run that is not complete and fresh.
"""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat

from r4t_utils.evaluation import drawing
from r4t_utils.run import ablations, blocks, command, files, manifest, notebooks, paths, seeds
from r4t_utils.run.run import Run
from r4t_utils.run.stage import STAGES, ArtifactError


def record(run: Run) -> None:
    """Records a run as above; raises ArtifactError, and changes nothing, for one that is not complete and fresh."""
    changed = (run.recorded, *map(paths.notebook, STAGES)) if run.is_default else (run.recorded,)
    for place in changed:
        files.restore(place)  # what an earlier recording left that was killed
    made = command.require_fresh(run)
    together = _seeds(run)
    for place in changed:
        if reason := files.unwritable(place.parent):
            raise ArtifactError(f"{reason}; give write permission, or name another folder in $R4T_RESULTS")
    successors = {place: place.with_name(f".{place.name}.{os.getpid()}.partial") for place in changed}
    try:
        _gather(run, made, together, successors[run.recorded])
        for stage in STAGES if run.is_default else ():
            place = paths.notebook(stage)
            notebook = nbformat.reads(notebooks.with_outputs(place, run.executed(stage)), as_version=4)
            for cell in notebook.cells:
                if cell.cell_type == "markdown":
                    cell.source = blocks.filled(cell.source, successors[run.recorded], run.recorded)
            files.write_text(successors[place], nbformat.writes(notebook) + "\n")
        files.replace(successors)
    finally:
        for left in successors.values():
            files.remove(left)


def _seeds(run: Run) -> dict:
    """The manifest of the table over seeds, if there is one; raises ArtifactError where it is not of these runs."""
    facts, reason = seeds.recorded(run), seeds.outdated(run)
    if facts and reason:
        wanted = " ".join(sorted({*facts["seeds"], str(run.seed)}, key=int))
        remedy = f"run `{run.command('seeds')} SEEDS='{wanted}'`, or remove the folder"
        raise ArtifactError(f"the table over seeds in {paths.shown(run.seeds)} is not fresh, since {reason}; {remedy}")
    return facts


def _gather(run: Run, made: dict[str, dict], together: dict, folder: Path) -> None:
    """Copies what the stages of a run say to readers, and what the seeds say together, into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    names = [name for facts in made.values() for name in (*facts["results"], *facts.get("figures", ()))]
    for name in names:
        source, place = run.results / name, folder / name
        if not source.is_file():
            raise ArtifactError(f"{paths.shown(source)} is missing; run `{run.command('reproduce')}` again")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
    facts = json.loads((run.results / manifest.FILE).read_text(encoding="utf-8"))
    if together:
        (folder / "claims_latency.json").unlink(missing_ok=True)  # claims.json over seeds has it
        for source in sorted(p for p in run.seeds.iterdir() if p.name != manifest.FILE):
            shutil.copyfile(source, folder / source.name)
        facts |= {key: together[key] for key in ("seeds", "machines")}
    files.write_text(folder / manifest.FILE, files.to_json(facts))
    if reason := ablations.outdated(run):
        remedy = f"run `{run.command('ablations')}`, or remove the folder"
        raise ArtifactError(f"{paths.shown(run.ablations)} is not fresh, since {reason}; {remedy}")
    told = run.ablations if run.ablations.is_dir() else run.recorded / ablations.FOLDER
    if told.is_dir():  # what was recorded of them stays where this run has none
        shutil.copytree(told, folder / ablations.FOLDER, ignore=shutil.ignore_patterns(ablations.TRIALS))
    for name in ("claims", "claims_short"):  # what the stages, the seeds and the ablations decide together
        drawing.draw(name, folder)


def _main(argv: Sequence[str] | None) -> int:
    run = command.checked(vars(command.parser("record", "Record a fresh run for readers.").parse_args(argv)))
    record(run)
    count = sum(p.is_file() for p in run.recorded.rglob("*"))
    print(f"recorded {count} files in {paths.shown(run.recorded)}/" + ", and six notebooks" * run.is_default)
    print("draw the tables of README.md from them: make readme")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return command.status(lambda: _main(argv))


if __name__ == "__main__":
    sys.exit(main())
