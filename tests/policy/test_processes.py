"""Soft-GRPO on several processes: each step is of the same completions as on one, shared out, and all end alike."""

import json
import os
import subprocess
import sys

import pytest
import tiny

from r4t_utils.policy.soft_grpo import shares
from r4t_utils.run import paths

SCRIPT = """
import json, os, sys
from pathlib import Path
import tiny, torch
from r4t_utils.policy import soft_grpo

class Watching(tiny.Toy):
    asked = []
    def __call__(self, completions, query, **kwargs):
        Watching.asked.append(query)
        return super().__call__(completions, query=query, **kwargs)

rank, s, policy = os.environ.get("RANK", "0"), tiny.settings("rl.steps=6 rl.learning_rate=2e-2"), tiny.policy()
soft_grpo.train(policy, "oar", tiny.QUERIES["oar"], Watching(), s.rl, 0)
weights = torch.cat([p.detach().flatten() for p in policy.model.parameters()]).double()
found = {"asked": Watching.asked, "sum": weights.sum().item(), "square": weights.square().sum().item()}
Path(sys.argv[1], rank).write_text(json.dumps(found))
"""
# Also on CPUs, whose own launcher needs MPI.
LAUNCH = "accelerate.commands.launch --multi_gpu --num_machines 1 --mixed_precision no --dynamo_backend no".split()


@pytest.mark.training
def test_two_processes_share_the_completions_of_one_and_end_with_the_same_weights(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    found = {}
    for number, launcher in ((1, []), (2, ["-m", *LAUNCH, "--num_processes", "2"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        command = [sys.executable, *launcher, str(tmp_path / "train.py"), str(folder)]
        path = os.pathsep.join([os.path.dirname(tiny.__file__), str(paths.ROOT)])
        subprocess.run(
            command,
            check=True,
            cwd=paths.ROOT,
            env={**os.environ, "PYTHONPATH": path, "ACCELERATE_USE_CPU": "true"},
            timeout=300,
        )
        found[number] = [json.loads(file.read_text()) for file in sorted(folder.iterdir())]
    (alone,), (first, second) = found[1], found[2]
    assert len(alone["asked"]) == len(first["asked"]) == len(second["asked"]) > 1
    for whole, *halves in zip(alone["asked"], first["asked"], second["asked"]):
        assert len(halves[0]) == len(halves[1]) and not set(halves[0]) & set(halves[1])
        assert sorted(halves[0] + halves[1]) == sorted(whole)
    assert (first["sum"], first["square"]) == (second["sum"], second["square"])


def rl(overrides=""):
    return tiny.settings(f"rl.prompts_per_step=8 rl.group=4 rl.micro_batch=16 {overrides}").rl


@pytest.mark.parametrize("processes, expected", [(1, (16, 2)), (2, (16, 1)), (4, (8, 1)), (8, (4, 1))])
def test_an_update_is_of_as_many_completions_whatever_the_number_of_processes(processes, expected):
    micro, parts = shares(rl(), processes)
    assert (micro, parts) == expected and micro * parts * processes == 32


def test_a_batch_that_cannot_be_shared_out_is_an_error():
    with pytest.raises(ValueError, match="prompts_per_step=8 must be a multiple of the 3 processes"):
        shares(rl(), 3)
    with pytest.raises(ValueError, match="micro_batch=8 must divide a process's share of a batch, 2 x rl.group=6"):
        shares(tiny.settings("rl.prompts_per_step=4 rl.group=6 rl.micro_batch=8").rl, 2)
