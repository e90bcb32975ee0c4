"""Draws the generated blocks of README.md from the recorded runs: `make readme`."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r4t_utils.run import paths
from r4t_utils.run.files import write_text

# Heading: profile and label of the recorded run.
RUNS = {"synthetic corpus": ("cpu", "sample"), "real outfits": ("cpu", "polyvore-subset")}


def claims_block(runs: Mapping[str, Path]) -> str:
    """The claims table: one claim per line, with the paper's value, and each run's verdict with its interval."""
    parts = ("claims", "claims_latency")
    table = [[row for part in parts for row in _json(folder / f"{part}.json")] for folder in runs.values()]
    headings = " | ".join(f"{heading} [95 %]" for heading in runs)
    lines = [f"| | claim | paper | {headings} |", "|---" * (3 + len(runs)) + "|"]
    for found in zip(*table, strict=True):
        ours = " | ".join(f"**{row['verdict']}**: {row['ours']}" for row in found)
        lines.append(f"| {found[0]['id']} | {found[0]['claim']} | {found[0]['paper']} | {ours} |")
    return "\n".join(lines)


def cost_block(runs: Mapping[str, Path]) -> str:
    """Time and peak memory of each stage of every run."""
    table = [_json(folder / "manifest.json")["stages"] for folder in runs.values()]
    headings = " | ".join(f"{heading}: minutes | peak memory, MB" for heading in runs)
    lines = [f"| stage | {headings} |", "|---" * (1 + 2 * len(runs)) + "|"]
    for stage in (*table[0], "all"):
        chosen = [list(run.values()) if stage == "all" else [run[stage]] for run in table]
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
