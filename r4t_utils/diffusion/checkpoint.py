"""The state of a training run on disk: safetensors and JSON, so that a killed run goes on where it stood."""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load_file, save_file


class RunState:
    """Weights, their average, Adam's moments, the step and the history of one run, in `folder` (or nowhere).

    state.json names the tensor file that it belongs to and is replaced last, in one move: a kill at any
    moment leaves the state before or the state after. `resume` raises a ValueError where the folder holds a
    run of another seed, model or settings.
    """

    def __init__(self, denoiser, ema, optimiser, settings, seed, folder):
        self.denoiser, self.ema, self.optimiser = denoiser, ema, optimiser
        self.folder = Path(folder) if folder else None
        names = ("steps", "batch_size", "peak_lr", "warmup_steps", "ema", "condition_drop")
        self.identity = {"seed": seed, "config": asdict(denoiser.config),
                         "settings": {name: getattr(settings, name) for name in names}}

    def store(self, step: int, history: dict) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"model/{name}": value for name, value in self.denoiser.state_dict().items()}
        tensors |= {f"ema/{name}": value for name, value in self.ema.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam/{index}/{name}": value for name, value in state.items()}
        name = f"state-{step}.safetensors"
        save_file({key: value.contiguous() for key, value in tensors.items()}, self.folder / name)
        record = {"step": step, "tensors": name, "run": self.identity, "history": history}
        (self.folder / "state.json.new").write_text(json.dumps(record))
        (self.folder / "state.json.new").replace(self.folder / "state.json")
        for old in self.folder.glob("state-*.safetensors"):
            if old.name != name:
                old.unlink()

    def resume(self) -> tuple[int, dict[str, list[dict]]]:
        """Load what is stored, if anything; the number of steps done and the history so far."""
        if self.folder is None or not (self.folder / "state.json").is_file():
            return 0, {"loss": [], "loss_by_sigma": []}
        record = json.loads((self.folder / "state.json").read_text())
        if record["run"] != self.identity:
            raise ValueError(f"{self.folder} holds the state of another run ({record['run']}); this one is "
                             f"{self.identity}. Delete the folder or restore the settings")
        parts: dict[str, dict] = {"model": {}, "ema": {}, "adam": {}}
        for key, value in load_file(self.folder / record["tensors"]).items():
            part, name = key.split("/", 1)
            parts[part][name] = value
        self.denoiser.load_state_dict(parts["model"])
        self.ema.load_state_dict(parts["ema"])
        state: dict[int, dict] = {}
        for key, value in parts["adam"].items():
            index, name = key.split("/")
            state.setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        return record["step"], record["history"]
