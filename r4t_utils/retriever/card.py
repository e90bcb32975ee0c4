"""The model card of a retriever: what it is made of, how it is used and, from the record of its run, how it scored."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from r4t_utils.machine.checks import read

PAPER = "https://arxiv.org/abs/2603.06397"
HEADER = """---
library_name: r4t_utils
license: apache-2.0
tags:
- set-valued retrieval
- diffusion
---
"""
ROWS = ("No fan-out", "Noise", "MMR", "Zero-shot", "R4T-FOLM", "R4T-Diffusion")  # of the table
SCORES = {"oar": ("alignment", "diversity", "quality"), "wscr": ("recall",)}


class Record(NamedTuple):
    """What was recorded of a run: `manifest` and `claims` as in its JSON files, `metrics` as in metrics.csv, or over
    all seeds as in seeds_metrics.csv, where that is."""

    manifest: dict
    claims: list[dict]
    metrics: pd.DataFrame


def read_record(folder: Path) -> Record:
    """The record in a folder of results, such as results/cpu/sample. Raises ValueError where there is none."""
    if not (folder / "manifest.json").is_file():
        raise ValueError(f"{folder} holds no record (no manifest.json); name a folder such as results/cpu/sample")
    manifest, claims = (read(folder / f"{name}.json", _json) for name in ("manifest", "claims"))
    name = "seeds_metrics.csv" if "seeds" in manifest else "metrics.csv"
    return Record(manifest, claims, read(folder / name, pd.read_csv))


def written(facts: Mapping[str, object], record: Record | None = None) -> str:
    """The card, in Markdown behind the hub's header. `facts` are the retriever's own."""
    parts = [
        f"# FanoutRetriever over {facts['contents']} contents",
        f"Answers a broad request with a set of different results: a denoiser of {facts['parameters']:,} parameters "
        f"emits {facts['slots']} retrieval directions at once, and what they find is merged. It is the third stage of "
        f"[Retrieve-for-Train]({PAPER}), in an independent replication.",
        "```python\nfrom r4t_utils.retriever import FanoutRetriever\n\n"
        'retriever = FanoutRetriever.from_pretrained("path/or/hub-id")\n'
        'retriever.search("bohemian festival style", k=10)\n```',
        "## What it is made of",
        _table(("part", "value"), facts.items()),
    ]
    return "\n\n".join([HEADER.rstrip(), *parts, *(_scored(record) if record else ())]) + "\n"


def _scored(record: Record) -> list[str]:
    manifest = record.manifest
    stage = manifest["stages"]["05_evaluation"]
    seeds = ", ".join(map(str, manifest.get("seeds", [stage["seed"]])))
    run = f"profile {manifest['profile']}, data {manifest['label']}, seeds {seeds}"
    commit = f", commit {stage['commit'][:12]}" if stage["commit"] else ""
    rows = []
    groups: Any = record.metrics.groupby(["task", "method"], sort=False)
    for (task, method), own in groups:
        shown = own[own["metric"].isin(SCORES[task])] if method in ROWS else own.iloc[:0]
        for row in shown.to_dict("records"):
            rows.append((task, method, row["metric"], "{mean:.1f} [{low:.1f}, {high:.1f}]".format(**row), row["n"]))
    held = []
    for claim in record.claims:
        other = (claim.get("without_query") or {}).get("verdict", "")
        held.append((claim["id"], claim["claim"], claim["ours"], claim["verdict"], other))
    return [
        "## How it scored",
        f"Recorded by {run}{commit}; test queries, 95 % intervals, k different results per query.",
        _table(("task", "method", "score", "value", "n"), rows),
        "## Which claims held",
        _table(("", "claim", "measured", "verdict", "without the query's own list"), held),
    ]


def _table(header: tuple[str, ...], rows) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))
