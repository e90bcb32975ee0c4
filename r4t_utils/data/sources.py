"""Where a corpus comes from: the sample world, or a folder of real outfits."""

from pathlib import Path

from r4t_utils.data import polyvore
from r4t_utils.data.corpus import Corpus
from r4t_utils.data.sample import generate
from r4t_utils.settings import CorpusSettings

DATASETS = ("sample", "polyvore")


def label(dataset: str, folder: Path | None) -> str:
    """The name under which results of a data set are kept: "sample", "polyvore" or "polyvore-subset".

    Raises ValueError for an unknown data set, and for a folder that cannot be read as that data set.
    """
    folder = _checked(dataset, folder)
    return polyvore.label(folder) if folder else dataset


def load(dataset: str, folder: Path | None, settings: CorpusSettings) -> Corpus:
    """The corpus of a data set, at the sizes that the settings ask for.

    Raises ValueError as ``label`` does, and where the settings ask for what the data set cannot give.
    """
    if folder := _checked(dataset, folder):
        return polyvore.load(folder, settings.n_oar_queries, settings.n_wscr_queries, settings.max_outfits)
    return generate(settings.n_outfits, settings.n_oar_queries, settings.n_wscr_queries)


def _checked(dataset: str, folder: Path | None) -> Path | None:
    if dataset not in DATASETS:
        raise ValueError(f"dataset={dataset!a} is not known; choose {' or '.join(DATASETS)}")
    if dataset == "polyvore" and folder is None:
        raise ValueError("data_dir=None, but dataset='polyvore' is read from a folder: give its path")
    return folder if dataset == "polyvore" else None
