"""Draws the generated blocks of README.md from the recorded runs: `make readme`."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r4t_utils.evaluation import verdicts
from r4t_utils.evaluation.claims import CLAIMS
from r4t_utils.run import paths
from r4t_utils.run.files import write_text
from r4t_utils.run.stage import STAGES

# Heading: profile and label of the recorded run.
RUNS = {
    "synthetic corpus": ("cpu", "sample"),
    "claims and perspectives": ("cpu", "perspectrum"),
    "real outfits": ("cpu", "polyvore-subset"),
}
NONE = "not recorded"


def claims_block(runs: Mapping[str, Path]) -> str:
    """The claims table: one claim per line, with the paper's value, and each run's verdict with its interval.

    Where fewer than three seeds leave a claim undecided, what they say alone stands beside it. The heading has the
    number of seeds.
    """
    table = {heading: {row["id"]: row for row in verdicts.read(folder)} for heading, folder in runs.items()}
    headings = [f"{heading} ({_seeds(found)}) [95 %]" for heading, found in table.items()]
    lines = [f"| | claim | paper | {' | '.join(headings)} |", "|---" * (3 + len(runs)) + "|"]
    for claim in CLAIMS:
        rows = [found.get(claim.id) for found in table.values()]
        paper = next((row["paper"] for row in rows if row), "")
        lines.append(f"| {claim.id} | {claim.text} | {paper} | {' | '.join(map(_cell, rows))} |")
    return "\n".join(lines)


def _seeds(found: Mapping[str, dict]) -> str:
    most = max((row["seeds"] for row in found.values()), default=0)
    return f"{most} seed{'' if most == 1 else 's'}" if most else NONE


def _cell(row: Mapping | None) -> str:
    if row is None:
        return NONE
    alone = "" if row["alone"] == row["verdict"] else f" ({row['seeds']} of 3 seeds; by itself: {row['alone']})"
    return f"**{row['verdict']}**{alone}: {row['ours']}"


def cost_block(runs: Mapping[str, Path]) -> str:
    """Time and peak memory of each stage of every run that is recorded."""
    found = {heading: folder / "manifest.json" for heading, folder in runs.items()}
    table = {heading: _json(path)["stages"] for heading, path in found.items() if path.is_file()}
    headings = " | ".join(f"{heading}: minutes | peak memory, MB" for heading in table)
    lines = [f"| stage | {headings} |", "|---" * (1 + 2 * len(table)) + "|"]
    for stage in (*STAGES, "all"):
        chosen = [list(run.values()) if stage == "all" else [run[stage]] for run in table.values()]
        minutes = [sum(facts["seconds"] for facts in found) / 60 for found in chosen]
        peaks = [max(facts["peak_memory_mb"] for facts in found) for found in chosen]
        lines.append(f"| {stage} | {' | '.join(f'{m:.1f} | {p}' for m, p in zip(minutes, peaks))} |")
    return "\n".join(lines)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


BLOCKS = {"claims": claims_block, "cost": cost_block}


def filled(text: str, runs: Mapping[str, Path]) -> str:
    """The text with every ``<!-- NAME -->`` ... ``<!-- end NAME -->`` block drawn anew from `runs`, {heading: folder}.

    Raises ValueError where a block is missing from the text.
    """
    for name, block in BLOCKS.items():
        drawn = block(runs).replace("\\", r"\\")
        block_of = rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)"
        text, found = re.subn(block_of, rf"\g<1>{drawn}\n\g<2>", text, flags=re.S)
        if found != 1:
            rule = f"it needs one, between <!-- {name} --> and <!-- end {name} -->"
            raise ValueError(f"README.md has {found} blocks named {name!r}; {rule}")
    return text


def main() -> None:
    """Draws the generated blocks of README.md anew."""
    path = paths.ROOT / "README.md"
    runs = {heading: paths.results().joinpath(*run) for heading, run in RUNS.items()}
    write_text(path, filled(path.read_text(encoding="utf-8"), runs))


if __name__ == "__main__":
    main()
