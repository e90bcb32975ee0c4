"""Fills the generated blocks of README.md from results/cpu/sample: `python -m r4t_utils.readme`."""

import json
import re
from pathlib import Path

import pandas as pd

from . import manifests, paths
from .publish import DEFAULT


def claims_block(results: Path) -> str:
    """The claims table: one verdict a line, with the measured interval and the paper's value."""
    rows = [row for name in ("claims", "claims_latency") for row in json.loads((results / f"{name}.json").read_text())]
    lines = ["| | claim | paper | here [95 %] | verdict |", "|---|---|---|---|---|"]
    lines += [f"| {r['id']} | {r['claim']} | {r['paper']} | {r['ours']} | **{r['verdict']}** |" for r in rows]
    return "\n".join(lines)


def cost_block(results: Path) -> str:
    """Time and peak memory of each stage of the recorded run."""
    run = pd.read_csv(results / "run.csv")
    lines = ["| stage | minutes | peak memory, MB |", "|---|---|---|"]
    lines += [f"| {r.stage} | {r.seconds / 60:.1f} | {r.peak_memory_mb:.0f} |" for r in run.itertuples()]
    return "\n".join([*lines, f"| all | {run.seconds.sum() / 60:.1f} | {run.peak_memory_mb.max():.0f} |"])


BLOCKS = {"claims": claims_block, "cost": cost_block}


def fill(text: str, results: Path) -> str:
    """The text with every ``<!-- NAME -->`` ... ``<!-- end NAME -->`` block drawn anew.

    Raises ValueError where a block is missing from the text.
    """
    for name, block in BLOCKS.items():
        drawn = block(results).replace("\\", r"\\")
        block_of = rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)"
        text, found = re.subn(block_of, rf"\g<1>{drawn}\n\g<2>", text, flags=re.S)
        if found != 1:
            raise ValueError(f"README.md has {found} blocks named {name!r}; it needs one, between "
                             f"<!-- {name} --> and <!-- end {name} -->")
    return text


def main() -> None:
    path = paths.ROOT / "README.md"
    manifests.write_text(path, fill(path.read_text(), paths.run_results(*DEFAULT)))


if __name__ == "__main__":
    main()
