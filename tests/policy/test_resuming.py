"""Trainings that are killed on their way and go on in another process end with the same weights, to the bit."""

import os
import re
import subprocess
import sys
import time

import pytest
import tiny
import torch

from r4t_utils.data.language import fashion
from r4t_utils.policy import soft_grpo, zero_shot
from r4t_utils.policy.folm import Folm
from r4t_utils.policy.trainer import TOLD, Watch
from r4t_utils.run import paths
from r4t_utils.run.files import folder_hashes

pytestmark = pytest.mark.training


TOKENS = r"[\d,]+ tokens sampled and [\d,]+ trained"


class Killed(BaseException):
    """What no code here catches."""


class Fatal(tiny.Toy):
    """A reward that kills the process the n-th time it is asked."""

    def __init__(self, n):
        super().__init__()
        self.left = n

    def __call__(self, *args, **kwargs):
        self.left -= 1
        if self.left < 0:
            raise Killed
        return super().__call__(*args, **kwargs)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    tiny.policy().save(folder)
    return folder


def tune(source, checkpoints, overrides, dies_after=10**9):
    s = tiny.settings(f"rl.steps=24 rl.learning_rate=2e-2 {overrides}")
    policy = Folm.load(source, tiny.settings(overrides).folm).trainable()
    reward = Fatal(dies_after)
    rows = soft_grpo.train(policy, "oar", tiny.QUERIES["oar"], reward, s.rl, 0, checkpoints)
    return policy.model.state_dict(), rows


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "overrides",
    [
        "rl.reference_kl=0.1",
        "rl.num_iterations=2 rl.steps_per_generation=2 rl.reference_kl=0",
        "rl.micro_batch=4",
        "folm.lora_rank=4 rl.reference_kl=0.1",
    ],
)
def test_tuning_goes_on_from_the_last_checkpoint(source, tmp_path, overrides, capsys):
    """Two queries a step of four in all: the data is gone through many times."""
    whole, rows = tune(source, None, overrides)
    tokens = re.search(TOKENS, capsys.readouterr().out)[0]
    rounds = 24 // (4 if "num_iterations" in overrides else 1)
    for dies_after in (rounds // 2, rounds // 4):  # the second time sooner than the next checkpoint, or about then
        with pytest.raises(Killed):
            tune(source, tmp_path, overrides, dies_after)
    assert list(tmp_path.glob(f"checkpoint-*/{TOLD}"))
    capsys.readouterr()
    weights, told = tune(source, tmp_path, overrides)
    assert told == rows and same(weights, whole)
    assert re.search(TOKENS, capsys.readouterr().out)[0] == tokens  # those before the interruption count, once


def test_a_checkpoint_that_was_cut_off_in_the_writing_is_passed_over(source, tmp_path):
    whole, rows = tune(source, None, "")
    with pytest.raises(Killed):
        tune(source, tmp_path, "", 14)
    made = sorted(tmp_path.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    assert len(made) == 2
    (made[-1] / TOLD).unlink()
    (made[-1] / "model.safetensors").write_bytes(b"half")
    weights, told = tune(source, tmp_path, "")
    assert told == rows and same(weights, whole)


@pytest.mark.parametrize(
    "overrides, queries, other",
    [
        ("rl.temperature=0.5", None, "rl.temperature=1.0, not 0.5"),
        ("rl.beta1=0.2", None, "rl.beta1=0.05, not 0.2"),  # of the terms that TRL does not know,
        ("rl.lambda_d=0.1", None, "rl.lambda_d=0.2, not 0.1"),  # and of the reward
        ("folm.lora_rank=4", None, "trained weights='[0-9a-f]{12}', not '"),
        ("", ["red shoes", "blue hats"], "data='[0-9a-f]{12}', not '"),
    ],
)
def test_a_checkpoint_of_other_settings_data_or_weights_is_refused_and_kept(
    source, tmp_path, overrides, queries, other, monkeypatch
):
    with pytest.raises(Killed):
        tune(source, tmp_path, "", 14)
    before = folder_hashes(tmp_path)
    monkeypatch.setitem(tiny.QUERIES, "oar", queries or tiny.QUERIES["oar"])
    with pytest.raises(ValueError, match=f"of other settings .{other}.*; name another folder"):
        tune(source, tmp_path, overrides)
    assert folder_hashes(tmp_path) == before


def test_a_tuning_that_was_finished_is_finished_again(source, tmp_path):
    first, again = tune(source, tmp_path, ""), tune(source, tmp_path, "")
    assert first[1] == again[1] and same(first[0], again[0])


def test_a_warm_up_goes_on_within_its_lessons(tmp_path, monkeypatch):
    s = tiny.settings("folm.warmup_epochs=3").folm

    def warmed(folder, checkpoints=None, dies_at=None):
        class Fatal(Watch):
            def on_step_end(self, args, state, control, **kwargs):
                super().on_step_end(args, state, control, **kwargs)
                if dies_at == (self.label, state.global_step):
                    raise Killed

        monkeypatch.setattr(zero_shot, "Watch", Fatal)
        zero_shot.zero_shot_policy(tiny.QUERIES, s, 0, tmp_path / folder, fashion(), checkpoints)
        return (tmp_path / folder / "model.safetensors").read_bytes()

    whole, kept = warmed("whole"), tmp_path / "kept"
    for dies_at in (("warm-up: copying", 2), ("warm-up: fan-outs", 5)):
        with pytest.raises(Killed):
            warmed("cut off", kept, dies_at)
    assert list(kept.glob(f"fan-outs/checkpoint-*/{TOLD}"))
    assert warmed("gone on", kept) == whole


SCRIPT = """
import sys, time
from pathlib import Path
import tiny
from r4t_utils.policy import soft_grpo
import torch

class Slow(tiny.Toy):
    def __call__(self, *args, **kwargs):
        time.sleep(0.2)
        return super().__call__(*args, **kwargs)

s, policy = tiny.settings("rl.steps=24 rl.learning_rate=2e-2"), tiny.policy()
soft_grpo.train(policy, "oar", tiny.QUERIES["oar"], Slow(), s.rl, 0, Path(sys.argv[1]))
policy.save(Path(sys.argv[2]))
"""


def test_a_process_that_is_killed_is_followed_by_one_that_ends_the_same(tmp_path):
    def start(name, checkpoints):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / checkpoints), str(tmp_path / name)]
        helpers = os.path.dirname(tiny.__file__)
        return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": helpers}, cwd=paths.ROOT)

    process = start("cut off", "kept")
    while not list(tmp_path.glob(f"kept/checkpoint-*/{TOLD}")):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    assert process.wait() < 0 and not (tmp_path / "cut off").exists()
    assert start("gone on", "kept").wait() == start("whole", "other").wait() == 0
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "gone on" / name).read_bytes(), name
