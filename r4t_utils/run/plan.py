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
from r4t_utils.run.needs import ADAM, POLICIES, Policy, training_memory
from r4t_utils.run.run import Run
from r4t_utils.settings import Settings, SettingsError

TASKS = 2
TRAINING, SAMPLING = 0.35, 0.10  # shares of the peak that large matrices, and answers token by token, usually reach
UPDATE = 5e-3  # seconds that an update of a small model takes at least, to start its kernels
CHECKPOINTS = 2  # that tuning keeps, of the weights and moments that it trains


class Device(NamedTuple):
    """Peak FLOP per second, and memory in GB, of one device by its maker's data sheet; bytes of a number: 2 where it
    computes bfloat16, else 4."""

    peak: float
    memory: float
    number: int = 2


DEVICES = {
    "T4": Device(8.1e12, 16, 4),
    "L4": Device(121e12, 24),
    "A100": Device(312e12, 80),
    "H100": Device(989e12, 80),
    "H200": Device(989e12, 141),
}


class Stage(NamedTuple):
    """What a stage takes: training steps per task, tokens (or rows of sets) sampled and trained on, seconds, GB of
    memory per device without activations, and GB on disk while it runs."""

    name: str
    steps: int
    sampled: float
    trained: float
    seconds: float
    memory: float
    disk: float


def planned(settings: Settings, policy: Policy, device: Device, devices: int) -> list[Stage]:
    """The stages that cost, for both tasks together, on `devices` devices that share every batch.

    A trained weight and its moments lie on every device (data parallelism).
    """
    s, speed, weights = settings, device.peak * devices, policy.weights
    answer, prompt = s.folm.max_new_tokens, s.folm.max_prompt_tokens
    completions = s.rl.steps * s.rl.prompts_per_step * s.rl.group * TASKS
    drawn = completions / s.rl.num_iterations * answer
    learnt = completions * (prompt + answer)
    memory = training_memory(s, policy, device.number)
    seconds = 2 * weights * drawn / (SAMPLING * speed) + 6 * weights * learnt / (TRAINING * speed)
    kept = weights * (4 if s.folm.lora_rank else 4 + CHECKPOINTS * (ADAM - 4))  # the policy; of adapters, next to none
    stages = [Stage("02 RL fan-out", s.rl.steps, drawn, learnt, seconds, memory, TASKS * kept / 1e9)]

    def sampling(name: str, tokens: float, disk: float) -> Stage:
        seconds = 2 * weights * tokens / (SAMPLING * speed)
        return Stage(name, 0, tokens, 0, seconds, weights * device.number / 1e9, disk)

    queries = 0.8 * (s.corpus.n_oar_queries + s.corpus.n_wscr_queries)  # of training
    written = queries * s.synthesis.fanouts_per_query
    pairs = written * s.synthesis.slots * s.encoder.d * 4 / 1e9
    stages.append(sampling("03 pair synthesis", written * answer, pairs))

    denoiser = sum(p.numel() for p in Denoiser.from_settings(s.encoder.d, s.diffusion).parameters())
    rows = s.diffusion.steps * s.diffusion.batch_size * s.synthesis.slots * TASKS
    seconds = max(6 * denoiser * rows / (TRAINING * speed), TASKS * s.diffusion.steps * UPDATE)
    memory, left = denoiser * (ADAM + 4) / 1e9, TASKS * denoiser * 4 / 1e9
    stages.append(Stage("04 diffusion training", s.diffusion.steps, 0, rows, seconds, memory, left))

    asked = 0.1 * (s.corpus.n_oar_queries + s.corpus.n_wscr_queries)  # of the test, by the policy before and after
    stages.append(sampling("05 evaluation", 2 * asked * s.evaluation.runs * answer, 0))
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
    lines.append("activations other than logits come on top of the memory")
    if tight := [x.name for x in stages if x.memory > device.memory]:
        remedy = "take a device with more, a smaller rl.micro_batch, or LoRA (folm.lora_rank=16)"
        lines.append(f"TOO LITTLE MEMORY on each device for {', '.join(tight)}: {remedy}")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return command.status(lambda: _main(argv))


if __name__ == "__main__":
    sys.exit(main())
