"""The parameters of a run, checked before anything else happens."""

import os
from dataclasses import dataclass
from pathlib import Path

from r4t_utils.data import sources as datasets
from r4t_utils.run import paths, profiles
from r4t_utils.settings import Settings, SettingsError


@dataclass(frozen=True)
class Context:
    """The parameters of a run, checked: what the five literals of a notebook's parameters cell stand for."""

    profile: str
    dataset: str
    data_dir: Path | None
    seed: int
    overrides: str
    settings: Settings
    label: str

    def folder(self, stage: str) -> Path:
        return paths.stage(self.profile, self.label, stage)

    @property
    def results(self) -> Path:
        return paths.run_results(self.profile, self.label)

    def command(self, target: str) -> str:
        """The make command that runs `target` with these parameters."""
        words = [f"make {target}", f"PROFILE={self.profile}", f"DATASET={self.dataset}"]
        words += [f"DATA_DIR={self.data_dir}"] * (self.data_dir is not None)
        words += [f"SEED={self.seed}"] * (self.seed != 0)
        words += [f'SET="{self.overrides}"'] * bool(self.overrides)
        return " ".join(words)


def context(
    profile: str = "cpu", dataset: str = "sample", data_dir: str = "", seed: int = 0, overrides: str = ""
) -> Context:
    """Checks the parameters of a run. An empty `data_dir` falls back on $R4T_DATA_DIR where one is needed.

    Raises SettingsError, naming the value, the rule and the remedy.
    """
    settings = profiles.load(profile, overrides)
    if dataset not in datasets.DATASETS:
        raise SettingsError(f"dataset={dataset!r} is not known; choose one of {', '.join(datasets.DATASETS)}")
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise SettingsError(f"seed={seed!r} is not a whole number from 0 to 2**32 - 1")
    folder = _data_folder(dataset, data_dir)
    return Context(
        profile, dataset, folder, seed, " ".join(overrides.split()), settings, datasets.label(dataset, folder)
    )


def _data_folder(dataset: str, data_dir: str) -> Path | None:
    if not isinstance(data_dir, (str, Path)):
        raise SettingsError(f"data_dir={data_dir!r} is not text; give a folder, or an empty text for none")
    if dataset == "sample":
        if data_dir:
            raise SettingsError(
                f"data_dir={str(data_dir)!r} is not used by dataset='sample', which is "
                "generated; leave it empty or choose another dataset"
            )
        return None
    given = str(data_dir) or os.environ.get("R4T_DATA_DIR", "")
    if not given:
        raise SettingsError(
            f"data_dir is empty, but dataset={dataset!r} is read from a folder; give "
            "data_dir (DATA_DIR=... with make) or set $R4T_DATA_DIR"
        )
    folder = Path(given).expanduser()
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
        raise SettingsError(f"data_dir={given!r} is not a folder that can be read; check its name and permissions")
    return folder.resolve()
