"""The parameters of a run, checked before anything else happens, and its folders.

artifacts/<profile>/<label>/seed-<s>/ (ignored by git) holds the stages, results/ and notebooks/ of one run;
artifacts/<profile>/<label>/seeds/ what several of them say together; results/<profile>/<label>[-<policy>]/ what was
recorded.
`label`: "sample", "polyvore-subset", ...
"""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from r4t_utils.data import sources
from r4t_utils.policy.pretrained import SHIPPED
from r4t_utils.run import paths, profiles
from r4t_utils.settings import Settings, SettingsError

DEFAULTS = {"profile": "cpu", "dataset": "sample", "data_dir": "", "seed": 0, "overrides": ""}


@dataclass(frozen=True)
class Run:
    """What the five literals of a notebook's parameters cell stand for."""

    profile: str
    dataset: str
    data_dir: Path | None
    seed: int
    overrides: str
    settings: Settings
    label: str

    @classmethod
    def checked(
        cls, profile: str = "cpu", dataset: str = "sample", data_dir: str = "", seed: int = 0, overrides: str = ""
    ) -> "Run":
        """A run with these parameters. An empty `data_dir` falls back on $R4T_DATA_DIR where one is needed.

        Raises SettingsError, naming the value, the rule and the remedy; ValueError for data that cannot be read.
        """
        settings = profiles.load(profile, overrides)
        if dataset not in sources.DATASETS:
            known = ", ".join(sources.DATASETS)
            raise SettingsError(f"dataset={dataset!r} is not known; choose one of {known}")
        if type(seed) is not int or not 0 <= seed < 2**32:
            raise SettingsError(f"seed={seed!r} is not a whole number from 0 to 2**32 - 1; give one")
        folder = _data_folder(dataset, data_dir)
        canonical = shlex.join(f"{name}={value}" for name, value in profiles.parse(overrides).items())
        return cls(profile, dataset, folder, seed, canonical, settings, sources.label(dataset, folder, settings.folm.k))

    @property
    def is_default(self) -> bool:
        """Whether this is the run whose outputs the notebooks carry."""
        return {key: getattr(self, key) or "" for key in DEFAULTS} == {k: v or "" for k, v in DEFAULTS.items()}

    @property
    def artifacts(self) -> Path:
        return paths.artifacts() / self.profile / self.label / f"seed-{self.seed}"

    @property
    def results(self) -> Path:
        """The tables, figures and manifest of this run."""
        return self.artifacts / "results"

    @property
    def seeds(self) -> Path:
        """What this run and those with other seeds say together."""
        return self.artifacts.parent / "seeds"

    @property
    def ablations(self) -> Path:
        """What policies that other rewards tuned say, over seeds."""
        return self.artifacts.parent / "ablations"

    @property
    def recorded(self) -> Path:
        """Where the results of such a run are recorded for readers; of a shipped policy that is not the profile's own,
        beside those of the profile."""
        policy = self.settings.folm.policy
        other = policy in SHIPPED and policy != profiles.load(self.profile).folm.policy
        return paths.results() / self.profile / (f"{self.label}-{policy}" if other else self.label)

    def folder(self, stage: str) -> Path:
        """Where a finished stage is."""
        return self.artifacts / stage

    def executed(self, stage: str) -> Path:
        """Where the executed notebook of a stage is."""
        return self.artifacts / "notebooks" / f"{stage}.ipynb"

    def command(self, target: str) -> str:
        """The make command that runs `target` with these parameters, quoted for the shell and for make."""
        given = {"PROFILE": self.profile, "DATASET": self.dataset, "DATA_DIR": str(self.data_dir or "")}
        given |= {"SEED": str(self.seed or ""), "SET": self.overrides}
        words = [f"{name}={value}".replace("$", "$$") for name, value in given.items() if value]
        return shlex.join(["make", target, *words])


def _data_folder(dataset: str, data_dir: str) -> Path | None:
    if not isinstance(data_dir, (str, Path)):
        raise SettingsError(f"data_dir={data_dir!r} is not text; give a folder, or an empty text for none")
    if dataset == "sample":
        if data_dir:
            reason = "is not used by dataset='sample', which is generated; leave it empty or choose another dataset"
            raise SettingsError(f"data_dir={str(data_dir)!r} {reason}")
        return None
    given = str(data_dir) or os.environ.get("R4T_DATA_DIR", "")
    if not given:
        remedy = "give data_dir (DATA_DIR=... with make) or set $R4T_DATA_DIR"
        raise SettingsError(f"data_dir is empty, but dataset={dataset!r} is read from a folder; {remedy}")
    folder = Path(given).expanduser()
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
        raise SettingsError(f"data_dir={given!r} is not a folder that can be read; check its name and permissions")
    return folder.resolve()
