"""A pipeline that is killed in its long stages is gone on with, and ends with the same files."""

import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from r4t_utils.policy.trainer import TOLD
from r4t_utils.run import paths
from r4t_utils.run.files import folder_hashes

SHORT = "rl.steps=6 diffusion.steps=200"
LONG_STAGES = (  # what each leaves on its way: the warm-up, the tuning, the diffusion
    f"fan-outs/checkpoint-*/{TOLD}",
    f"*.checkpoints/oar/checkpoint-*/{TOLD}",
    "*.checkpoints/*.pt",
)


def start(folder: Path) -> subprocess.Popen:
    own = {"R4T_ARTIFACTS": str(folder), "R4T_RESULTS": str(folder / "recorded")}
    command = ["r4t_utils.run.pipeline", "--profile", "smoke", "--set", SHORT]
    return subprocess.Popen(
        [sys.executable, "-m", *command], cwd=paths.ROOT, stdout=subprocess.DEVNULL, env={**os.environ, **own}
    )


def kill(process: subprocess.Popen) -> None:
    """Ends the pipeline and its kernel without a warning, where they have not ended by themselves."""
    with suppress(psutil.NoSuchProcess):
        pipeline = psutil.Process(process.pid)
        for each in [pipeline, *pipeline.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait()


def made(folder: Path) -> dict[str, dict]:
    """Hashes of what the stages and their tables hold; manifests, executed notebooks and latencies have times in
    them."""
    files = folder_hashes(folder / "smoke" / "sample" / "seed-0")
    timed = ("manifest.json", ".ipynb", "latency.csv", "latency_shares.csv", "claims_latency.json", "latency.png")
    return {name: fact for name, fact in files.items() if not name.endswith(timed)}


def left(folder: Path, pattern: str) -> bool:
    """Whether such a file is there; not yet, where a folder was moved while it was looked through."""
    with suppress(FileNotFoundError):
        return any(folder.rglob(pattern))
    return False


@pytest.mark.training
def test_a_pipeline_that_was_killed_ends_with_the_files_of_one_that_was_not(monkeypatch, tmp_path):
    monkeypatch.delenv("R4T_NOTEBOOKS", raising=False)  # the real ones
    whole, cut, chance = tmp_path / "whole", tmp_path / "cut", random.Random(0)
    began = time.monotonic()
    assert start(whole).wait() == 0
    lasts = time.monotonic() - began
    for kept in LONG_STAGES:
        process = start(cut)
        while not left(cut, kept):
            assert process.poll() is None, f"the stage ended before it left {kept}"
            time.sleep(0.01)
        kill(process)
    for _ in range(3):  # and at any moment
        process = start(cut)
        time.sleep(chance.uniform(0, lasts / 4))
        kill(process)
    assert start(cut).wait() == 0
    assert made(cut) == made(whole) and sum(name.endswith(".csv") for name in made(whole)) > 15
    assert not list(cut.rglob("*.checkpoints"))
