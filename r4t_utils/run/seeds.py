"""Runs the notebooks for several seeds, then says what they say together: `make seeds SEEDS="0 1 2"`.

    python -m r4t_utils.run.seeds --profile cpu --dataset sample --seeds "0 1 2"

Writes artifacts/<profile>/<label>/seeds/: claims.json over seeds, seeds.csv (the means of each seed),
seeds_metrics.csv (means over seeds, with intervals) and manifest.json, with the machine of each seed. Exit status as of
`pipeline`.
"""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace

from r4t_utils.run import command, files, manifest, paths, pipeline
from r4t_utils.run.code import module_hash
from r4t_utils.run.needs import require_writable
from r4t_utils.run.run import Run
from r4t_utils.run.stage import ArtifactError
from r4t_utils.settings import SettingsError

SCORED, TIMED = "05_evaluation", "06_latency_study"
SCORES, LATENCY = "scores.parquet", "latency.csv"
JUDGED_BY = "r4t_utils.evaluation.verdicts"
BATCH = 64  # at which C9 is read, or the largest measured below it


def parsed(text: str) -> list[int]:
    """[0, 1, 2] from "0 1 2"; SettingsError for anything else than different whole numbers."""
    words = text.split()
    if (
        not words
        or not all(word.isascii() and word.isdigit() for word in words)
        or len(set(map(int, words))) < len(words)
    ):
        raise SettingsError(f'SEEDS={text!r} is not a list of different whole numbers; write it as SEEDS="0 1 2"')
    return [int(word) for word in words]


def gather(runs: Sequence[Run]) -> list[dict]:
    """Reads what fresh runs that differ in their seeds say, writes it as above, and returns the table of claims.

    Raises ArtifactError for a run that is not fresh or has no scores.
    """
    import pandas as pd

    from r4t_utils.evaluation import verdicts

    made = {str(run.seed): _states(run) for run in runs}
    scores, timed = pd.concat([_scores(run) for run in runs], ignore_index=True), {}
    for run in runs:
        timed[run.seed] = pd.read_csv(run.results / LATENCY)
    first, boot = runs[0], runs[0].settings.evaluation.bootstrap
    sizes = [size for size in first.settings.latency.batch_sizes if size <= BATCH] or first.settings.latency.batch_sizes
    table = verdicts.judged(scores, boot, 0, verdicts.measure_latency(timed, max(sizes), boot, 0))
    each, metrics = verdicts.by_method(scores, boot, 0)
    work = first.seeds.with_name(f".seeds.{os.getpid()}.partial")
    shutil.rmtree(work, ignore_errors=True)
    files.write_text(work / "claims.json", files.to_json(table))
    for name, frame in (("seeds", each), ("seeds_metrics", metrics)):
        files.write_text(work / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
    facts = {"overrides": first.overrides, "seeds": made, "machines": {str(run.seed): _machine(run) for run in runs}}
    facts["code"] = module_hash(JUDGED_BY)
    files.write_text(work / manifest.FILE, files.to_json(facts))
    files.replace({first.seeds: work})
    return table


def _states(run: Run) -> dict[str, str]:
    return {stage: manifest.state(facts) for stage, facts in command.require_fresh(run).items()}


def _machine(run: Run) -> dict[str, str | None]:
    """Where a run was scored: seeds may have been made on different machines."""
    made = manifest.read(run.folder(SCORED)) or {}
    return {"cpu": made["hardware"]["cpu"], "gpu": made["hardware"]["gpu"], "torch": made["versions"].get("torch")}


def _scores(run: Run):
    import pandas as pd

    path = run.folder(SCORED) / SCORES
    if not path.is_file():
        raise ArtifactError(f"{paths.shown(path)} is missing; run `{run.command(SCORED[:2])}` again")
    return pd.read_parquet(path).assign(seed=run.seed)


def recorded(run: Run) -> dict:
    """The manifest of the table over seeds; {} where there is none."""
    files.restore(run.seeds)
    try:
        return json.loads((run.seeds / manifest.FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def outdated(run: Run) -> str:
    """Why the table over seeds is not that of these runs, in words; "" if it is, and this run is one of them."""
    facts = recorded(run)
    if not facts:
        return "it has not been made"
    if facts["overrides"] != run.overrides:
        return f"it was made with SET={facts['overrides']!r}"
    if str(run.seed) not in facts["seeds"]:
        return f"it leaves out seed {run.seed}"
    if facts.get("code") != module_hash(JUDGED_BY):
        return "the code that judges the claims has changed"
    for seed, states in facts["seeds"].items():
        for stage, state in states.items():
            now = manifest.read(replace(run, seed=int(seed)).folder(stage))
            if now is None or manifest.state(now) != state:
                return f"{stage} of seed {seed} has changed since"
    return ""


def asked(argv: Sequence[str] | None, name: str, what: str) -> list[Run]:
    """The run of every seed that a command, `name`, is asked for, checked before any of them begins."""
    parser = command.parser(name, what)
    parser.add_argument("--seeds", default="0 1 2", help="different whole numbers, spaces between")
    given = vars(parser.parse_args(argv))
    runs = [command.checked(given | {"seed": str(seed)}) for seed in parsed(given["seeds"])]
    require_writable(runs[0])
    return runs


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return command.status(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    runs = asked(argv, "seeds", "Run the notebooks for several seeds, then gather what they say.")
    for run in runs:
        if status := pipeline.reproduce(run):
            return status
    for row in gather(runs):
        print(f"{row['id']} {row['verdict']}: {row['claim']} {row['ours']}")
    if len(runs) < 3:
        print(
            'A claim needs three seeds or more; until then it is undecided, and "alone" in claims.json says the rest.'
        )
    print(f"tables over {len(runs)} seeds: {paths.shown(runs[0].seeds)}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
