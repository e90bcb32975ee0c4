"""A pipeline that is killed in its long stages is gone on with, and ends with the same files."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from r4t_utils.policy.trainer import TOLD
from r4t_utils.run import paths
from r4t_utils.run.files import folder_hashes

SHORT = "rl.steps=6 diffusion.steps=200"


def start(folder: Path, stage: str) -> subprocess.Popen:
    own = {"R4T_ARTIFACTS": str(folder), "R4T_RESULTS": str(folder / "results")}
    command = ["r4t_utils.run.pipeline", "--profile", "smoke", "--only", stage, "--set", SHORT]
    return subprocess.Popen(
        [sys.executable, "-m", *command], cwd=paths.ROOT, stdout=subprocess.DEVNULL, env={**os.environ, **own}
    )


def kill(process: subprocess.Popen, folder: Path, kept: str) -> None:
    """Ends the pipeline and its kernel without a warning, once the stage has left such a checkpoint."""
    while not list(folder.rglob(kept)):
        assert process.poll() is None, f"the stage ended before it left {kept}"
        time.sleep(0.01)
    running = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for each in running:
        each.kill()
    assert process.wait() < 0


def made(folder: Path, stage: str) -> dict:
    files = folder_hashes(folder / "smoke" / "sample" / "seed-0" / stage)
    return {name: fact for name, fact in files.items() if not name.startswith("manifest")}


@pytest.mark.training
def test_a_pipeline_that_was_killed_ends_with_the_files_of_one_that_was_not(monkeypatch, tmp_path):
    monkeypatch.delenv("R4T_NOTEBOOKS", raising=False)  # the real ones
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(whole, "01").wait() == 0
    shutil.copytree(whole, cut)
    for stage in ("02", "03", "04"):
        assert start(whole, stage).wait() == 0
    for kept in (f"fan-outs/checkpoint-*/{TOLD}", f"*.checkpoints/oar/checkpoint-*/{TOLD}"):
        kill(start(cut, "02"), cut, kept)
        assert not made(cut, "02_rl_fanout")
    assert start(cut, "02").wait() == 0 and made(cut, "02_rl_fanout") == made(whole, "02_rl_fanout") != {}
    assert start(cut, "03").wait() == 0 and made(cut, "03_pair_synthesis") == made(whole, "03_pair_synthesis")
    kill(start(cut, "04"), cut, "*.checkpoints/*.pt")
    assert not made(cut, "04_diffusion_training")
    assert start(cut, "04").wait() == 0 and made(cut, "04_diffusion_training") == made(whole, "04_diffusion_training")
    assert not list(cut.rglob("*.checkpoints"))
