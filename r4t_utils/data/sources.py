"""Data sets: the ``Corpus`` that every stage shares, and its sources."""

from pathlib import Path

from r4t_utils.data import polyvore
from r4t_utils.data.corpus import SPLITS, Corpus
from r4t_utils.data.sample import generate

__all__ = ["DATASETS", "SPLITS", "Corpus", "generate", "label", "load"]

DATASETS = ("sample", "polyvore")


def label(dataset: str, folder: Path | None) -> str:
    """The name under which results of a data set are kept: "sample", "polyvore" or "polyvore-subset".

    Raises ValueError for an unknown data set, and for a folder that cannot be read as that data set.
    """
    return polyvore.label(folder) if _known(dataset) == "polyvore" else dataset


def load(dataset: str, data_dir: Path | None, settings) -> Corpus:
    """The corpus of a data set; ``settings`` is the profile's corpus section.

    Raises ValueError as ``label`` does, and where the settings ask for what the data set cannot give.
    """
    if _known(dataset) == "polyvore":
        return polyvore.load(data_dir, settings.n_oar_queries, settings.n_wscr_queries, settings.max_outfits)
    return generate(settings.n_outfits, settings.n_oar_queries, settings.n_wscr_queries)


def _known(dataset: str) -> str:
    if dataset not in DATASETS:
        raise ValueError(f"dataset={dataset!r} is not known; choose {' or '.join(DATASETS)}")
    return dataset
