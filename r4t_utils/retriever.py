"""The compiled product: a text query in, a diverse set of contents out, no language model on the way."""

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from r4t_utils.diffusion.denoiser import Denoiser
from r4t_utils.diffusion.directions import directions
from r4t_utils.diffusion.samplers import How, Sampling
from r4t_utils.machine.checks import damaged, read, read_json, whole
from r4t_utils.settings import Count, Merging, Section
from r4t_utils.space.encoder import DualEncoder
from r4t_utils.space.index import Index, load_indices
from r4t_utils.space.merging import find

CONFIG = "retriever.json"
UNSEEN = "\u115f\u1160\u2800\u3164\uffa0\ufffd"  # letters and symbols for Unicode, which show nothing or stand for none


class RetrieverConfig(Section):
    """`slots`: L, the rows that the denoiser was trained to emit at once; how they are sampled; and how what they find
    becomes one set."""

    slots: Count
    sampling: Sampling
    merging: Merging


class FanoutRetriever:
    """R4T-Diffusion with its encoder and its database, as stored by the diffusion notebook.

    >>> folder = "artifacts/cpu/sample/seed-0/04_diffusion_training/oar"
    >>> FanoutRetriever.from_pretrained(folder).search("boho festival", k=10)

    `titles` is what a person reads of each content. Raises ValueError for parts of different widths d, or a number of
    titles that is not that of the contents.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        denoiser: Denoiser,
        index: Index,
        titles: list[str],
        slots: int,
        how: How,
        merging: Merging,
    ):
        d = {"encoder": encoder.d, "denoiser": denoiser.config.d, "index": index.vectors.shape[1]}
        if len(set(d.values())) > 1 or len(titles) != len(index):
            parts = f"widths {d}, {len(titles)} titles for {len(index)} contents"
            raise ValueError(f"the parts do not fit each other: {parts}; take those of one run")
        self.encoder, self.denoiser, self.index, self.titles = encoder, denoiser, index, titles
        self.slots, self.merging = slots, merging
        self.sampling = Sampling(sampler=how.sampler, sampling_steps=how.sampling_steps, guidance=how.guidance)

    def search(self, query: str, k: int = 10, seed: int = 0) -> pd.DataFrame:
        """What k directions find, merged into one set of k different contents (but for the rule top1), best first.

        Columns: id; title; cosine with the query (-1..1); direction, the number of the one that points nearest to the
        content; distance (0..2) from it; and found_by, the directions among whose own k nearest the content is, with
        "query" where it is among the query's own: "query, 3, 7". The frame's attrs name the rule ("merging") and its
        "query_weight". Another seed gives another set.

        Raises ValueError for a query without a visible character, k outside 1..L or above the number of contents, or a
        seed that is not a whole number of 0 or more.
        """
        most = f"the retriever was trained for {self.slots} directions over {len(self.index)} contents"
        k = whole("k", k, 1, min(self.slots, len(self.index)), most)
        rows, z_q = self.directions([query], k, seed), self.encoder.text([query])
        ids = find(self.index, rows, z_q, k, self.merging)[0]
        asked = np.concatenate([z_q, rows[0]])
        near = (self.index.search(asked, k)[0][None] == ids[:, None, None]).any(2)  # (k, 1 + k)
        names = ["query", *map(str, range(k))]
        cosine = self.index.vectors[ids] @ asked.T
        nearest = cosine[:, 1:].argmax(1)
        columns = {"id": ids, "title": [self.titles[i] for i in ids], "cosine": cosine[:, 0], "direction": nearest}
        columns["distance"] = np.sqrt(np.clip(2 - 2 * cosine[:, 1:].max(1), 0, 4))
        columns["found_by"] = [", ".join(name for name, at in zip(names, row) if at) for row in near]
        found = pd.DataFrame(columns)
        found.attrs = {"merging": self.merging.rule, "query_weight": self.merging.query_weight}
        return found

    def directions(self, queries: list[str], k: int, seed: int = 0) -> np.ndarray:
        """k retrieval directions of each query: (n, k, d), unit norm. Raises ValueError as `search` does."""
        for query in queries:
            _require_text(query)
        return directions(self.denoiser, self.encoder.text(queries), k, self.slots, self.sampling, seed)

    def save(self, folder: str | Path) -> None:
        """All that `from_pretrained` needs. Replaces a retriever in the folder; ValueError if it holds other files."""
        folder = Path(folder)
        if folder.is_file() or folder.is_dir() and any(folder.iterdir()) and not (folder / CONFIG).is_file():
            raise ValueError(f"{folder} holds something else than a retriever; name a new folder")
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        self.encoder.save(partial / "encoder")
        self.denoiser.save(partial / "denoiser")
        save_file({"vectors": self.index.vectors}, partial / "contents.safetensors")
        pd.DataFrame({"title": self.titles}).to_parquet(partial / "contents.parquet")
        config = RetrieverConfig(slots=self.slots, sampling=self.sampling, merging=self.merging)
        (partial / CONFIG).write_text(config.model_dump_json(indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "FanoutRetriever":
        """What `save` wrote. ValueError without one, or for a file missing, damaged, of another version or run."""
        folder = Path(folder)
        if not (folder / CONFIG).is_file():
            remedy = "train one with `make reproduce`, or name the folder .../04_diffusion_training/oar"
            raise ValueError(f"{folder} holds no retriever (no {CONFIG}); {remedy}")
        config = read_json(folder / CONFIG, RetrieverConfig)
        titles = read(folder / "contents.parquet", lambda path: pd.read_parquet(path).title.tolist())
        encoder, denoiser = DualEncoder.load(folder / "encoder"), Denoiser.load(folder / "denoiser")
        if denoiser.config.d != encoder.d:
            what = f"has d={denoiser.config.d}, but encoder/encoder.json d={encoder.d}"
            raise damaged(folder / "denoiser" / "config.json", what)
        shapes, source = {"vectors": (len(titles), encoder.d)}, "contents.parquet with encoder/encoder.json"
        (index,) = load_indices(folder / "contents.safetensors", shapes, source)
        return cls(encoder, denoiser, index, titles, config.slots, config.sampling, config.merging)


def _require_text(query: object) -> None:
    if not isinstance(query, str):
        raise ValueError(f"the query is {query!r}, which is no text; give it as str")
    kinds = [unicodedata.category(c) for c in query if c not in UNSEEN]
    if "Cs" in kinds:
        raise ValueError(f"the query {query!r} holds half a surrogate pair; decode the text that it comes from anew")
    if not any(kind[0] in "LNPS" for kind in kinds):
        raise ValueError(f"the query is empty: {query!r} shows no character; give it at least one word")
