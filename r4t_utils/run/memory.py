"""What a stage is told where memory runs out: the setting to lower. In a notebook that is open, beside its error."""

import sys

LOWER = {  # what takes most memory in a stage
    "02_rl_fanout": "rl.micro_batch",
    "03_pair_synthesis": "synthesis.batch_size",
    "04_diffusion_training": "diffusion.batch_size",
    "05_evaluation": "evaluation.runs",
    "06_latency_study": "latency.batch_sizes",
}
NAMES = "OutOfMemoryError", "MemoryError", "DeadKernelError", "TerminatedWorkerError"  # the last: of side_by_side
WORDS = "out of memory", "can't allocate memory", "not enough memory"  # of CUDA, and of torch on processors
_open: dict[str, str] = {}  # {"stage": the one that this kernel is at}


def remedy(stage: str, name: str, message: str, where: str = "by SET") -> str:
    """What to lower where an error of this name and message says that memory ran out, or that a kernel died, as it does
    on a full machine; else "". `where`: by what means."""
    if name not in NAMES and not any(words in message for words in WORDS):
        return ""
    setting = LOWER.get(stage, "the sizes of the profile")
    return f"if memory ran out: lower {setting} {where}; finished stages stay, and this one goes on where it can"


def watch(stage: str) -> None:
    """From now on, where a cell of this kernel runs out of memory, prints what to lower; nothing outside a kernel."""
    ipython = sys.modules.get("IPython")  # which a kernel has loaded
    if ipython is None or (shell := ipython.get_ipython()) is None:
        return
    if not _open:
        shell.events.register("post_run_cell", _say)
    _open["stage"] = stage


def _say(result) -> None:
    error = result.error_in_exec
    if error and (told := remedy(_open["stage"], type(error).__name__, str(error), "in `overrides` above")):
        print(told)
