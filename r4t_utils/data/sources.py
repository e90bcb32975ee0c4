"""Where a corpus comes from: the sample world, a folder of real outfits, of Perspectrum, or of anyone's own texts."""

from pathlib import Path

from r4t_utils.data import jsonl, perspectrum, polyvore
from r4t_utils.data.corpus import Corpus
from r4t_utils.data.sample import generate
from r4t_utils.settings import CorpusSettings

DATASETS = ("sample", "polyvore", "perspectrum", "jsonl")


def label(dataset: str, folder: Path | None, k: int = 1) -> str:
    """The name under which results of a data set are kept: "sample", "polyvore", "polyvore-subset", "perspectrum" or
    "jsonl-<folder name>".

    Raises ValueError for an unknown data set, for a folder that cannot be read as that data set, and for one of JSON
    lines with fewer contents than k directions need.
    """
    folder = _checked(dataset, folder)
    if dataset == "jsonl" and folder:
        return jsonl.label(folder, k)
    return {"polyvore": polyvore, "perspectrum": perspectrum}[dataset].label(folder) if folder else dataset


def load(dataset: str, folder: Path | None, settings: CorpusSettings) -> Corpus:
    """The corpus of a data set, at the sizes that the settings ask for.

    Raises ValueError as ``label`` does, and where the settings ask for what the data set cannot give.
    """
    folder, s = _checked(dataset, folder), settings
    if folder is None:
        return generate(s.n_outfits, s.n_oar_queries, s.n_wscr_queries)
    if dataset == "polyvore":
        return polyvore.load(folder, s.n_oar_queries, s.n_wscr_queries, s.max_outfits)
    if dataset == "perspectrum":
        return perspectrum.load(folder, s.n_oar_queries, s.max_outfits)
    return jsonl.load(folder, s.n_oar_queries)


def _checked(dataset: str, folder: Path | None) -> Path | None:
    if dataset not in DATASETS:
        raise ValueError(f"dataset={dataset!a} is not known; choose one of {', '.join(DATASETS)}")
    if dataset != "sample" and folder is None:
        raise ValueError(f"data_dir=None, but dataset={dataset!r} is read from a folder: give its path")
    return folder if dataset != "sample" else None
