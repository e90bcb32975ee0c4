"""What the manifests of recorded results say, with the fields checked that README, notebooks and site are made from."""

from pathlib import Path

from pydantic import BaseModel

from r4t_utils.machine.checks import read_fields
from r4t_utils.run import manifest


class _Hardware(BaseModel):
    cpu: str
    cores: int
    gpu: str | None
    torch: str


class _Stage(BaseModel):
    seconds: float
    peak_memory_mb: float
    settings: dict[str, dict]
    commit: str | None
    hardware: _Hardware


class _Run(BaseModel):
    profile: str
    dataset: str
    stages: dict[str, _Stage]
    seeds: dict[str, dict] = {}


class _Ablations(BaseModel):
    seeds: list[int]
    seconds: float
    commit: str | None
    hardware: _Hardware


def run_manifest(results: Path) -> dict:
    """The manifest of a recorded run, such as that of results/cpu/sample. Raises ValueError, which names the field,
    where it is missing or not of this version."""
    return read_fields(results / manifest.FILE, _Run)


def ablations_manifest(results: Path) -> dict:
    """The same of a run's ablations/."""
    return read_fields(results / "ablations" / manifest.FILE, _Ablations)
