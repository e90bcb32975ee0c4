"""Fills the generated blocks of README.md from the recorded runs: `python -m r4t_utils.run.readme`."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from r4t_utils.run import manifest as manifests
from r4t_utils.run import paths
from r4t_utils.run.publish import DEFAULT

RUNS = {"synthetic corpus": DEFAULT, "real outfits": ("cpu", "polyvore-subset")}  # heading: profile and label


def claims_block(runs: Mapping[str, Path]) -> str:
    """The claims table: a claim a line; the paper's value, and each run's verdict with its interval."""
    table = {
        heading: [
            row for name in ("claims", "claims_latency") for row in json.loads((results / f"{name}.json").read_text())
        ]
        for heading, results in runs.items()
    }
    lines = [
        "| | claim | paper | " + " | ".join(f"{heading} [95 %]" for heading in runs) + " |",
        "|---" * (3 + len(runs)) + "|",
    ]
    for found in zip(*table.values(), strict=True):
        ours = " | ".join(f"**{row['verdict']}**: {row['ours']}" for row in found)
        lines.append(f"| {found[0]['id']} | {found[0]['claim']} | {found[0]['paper']} | {ours} |")
    return "\n".join(lines)


def cost_block(runs: Mapping[str, Path]) -> str:
    """Time and peak memory of each stage of every run."""
    table = [pd.read_csv(results / "run.csv") for results in runs.values()]
    lines = [
        "| stage | " + " | ".join(f"{heading}: minutes | peak memory, MB" for heading in runs) + " |",
        "|---" * (1 + 2 * len(runs)) + "|",
    ]
    for stage in (*table[0].stage, "all"):
        rows = [run if stage == "all" else run[run.stage == stage] for run in table]
        cost = " | ".join(f"{r.seconds.sum() / 60:.1f} | {r.peak_memory_mb.max():.0f}" for r in rows)
        lines.append(f"| {stage} | {cost} |")
    return "\n".join(lines)


BLOCKS = {"claims": claims_block, "cost": cost_block}


def fill(text: str, runs: Mapping[str, Path]) -> str:
    """The text with every ``<!-- NAME -->`` ... ``<!-- end NAME -->`` block drawn anew.

    Raises ValueError where a block is missing from the text.
    """
    for name, block in BLOCKS.items():
        drawn = block(runs).replace("\\", r"\\")
        block_of = rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)"
        text, found = re.subn(block_of, rf"\g<1>{drawn}\n\g<2>", text, flags=re.S)
        if found != 1:
            raise ValueError(
                f"README.md has {found} blocks named {name!r}; it needs one, between "
                f"<!-- {name} --> and <!-- end {name} -->"
            )
    return text


def main() -> None:
    path, runs = paths.ROOT / "README.md", {heading: paths.run_results(*run) for heading, run in RUNS.items()}
    manifests.write_text(path, fill(path.read_text(), runs))


if __name__ == "__main__":
    main()
