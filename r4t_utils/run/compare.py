"""Puts a fresh run, or its seeds, beside the recorded one, a line per claim: `make compare`.

    python -m r4t_utils.run.compare --profile cpu --dataset sample --seed 0

What the seeds there are say by themselves (`alone`) is compared, so one seed can stand beside three. Exit status: 0 all
agree, 1 some differ, 2 bad input, such as no recorded run or no fresh one.
"""

import sys
from collections.abc import Sequence

from r4t_utils.evaluation import verdicts
from r4t_utils.run import ablations, command, paths, seeds
from r4t_utils.run.run import Run
from r4t_utils.run.stage import ArtifactError


def lines(fresh: Sequence[dict], recorded: Sequence[dict]) -> list[tuple[bool, str]]:
    """(agrees, a line) for every claim that one of the two tables has, and for what it says without the query's own
    list where both do; one that either side never tested has none."""
    ours, theirs = ({row["id"]: row for row in table} for table in (fresh, recorded))
    for name in [name for name in theirs if all(side.get(name, {}).get("without_query") for side in (ours, theirs))]:
        for side in (ours, theirs):
            side[f"{name} without the query's own list"] = side[name]["without_query"]
    found = []
    for name in dict.fromkeys([*theirs, *ours]):
        pair = [side.get(name, {"alone": "not there", "ours": "", "seeds": 0}) for side in (ours, theirs)]
        if verdicts.UNTESTED in {row["alone"] for row in pair}:
            continue
        agrees = pair[0]["alone"] == pair[1]["alone"]
        here, there = (f"{row['alone']} ({row['seeds']} seeds: {row['ours']})" for row in pair)
        found.append((agrees, f"{name} {'agrees' if agrees else 'differs'}: {here}; recorded: {there}"))
    return found


def compare(run: Run) -> int:
    """Prints the lines and returns an exit status; raises ArtifactError where there is nothing to compare."""
    recorded = verdicts.read(run.recorded)
    if not recorded:
        where = f"{paths.shown(run.recorded)} holds no claims of this version"
        remedy = f"run `{run.command('reproduce')}` and `{run.command('record')}`, or get the recorded results"
        raise ArtifactError(f"{where}; {remedy}")
    command.require_fresh(run)
    fresh = {row["id"]: row for row in verdicts.read(run.seeds if not seeds.outdated(run) else run.results)}
    if not ablations.outdated(run):
        fresh |= {row["id"]: row for row in verdicts.read(run.ablations)}
    found = lines([*fresh.values()], recorded)
    for _, line in found:
        print(line)
    agreeing = sum(agrees for agrees, _ in found)
    print(f"{agreeing} of {len(found)} claims agree with {paths.shown(run.recorded)}/")
    return 0 if agreeing == len(found) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = command.parser("compare", "Put a fresh run beside the recorded one.")
    return command.status(lambda: compare(command.checked(vars(parser.parse_args(argv)))))


if __name__ == "__main__":
    sys.exit(main())
