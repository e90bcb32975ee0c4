"""The compiled product: a text query in, a diverse set of contents out, no language model on the way."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

from r4t_utils.diffusion.denoiser import Denoiser
from r4t_utils.diffusion.directions import directions
from r4t_utils.settings import Settings
from r4t_utils.space.encoder import DualEncoder
from r4t_utils.space.index import Index


class FanoutRetriever:
    """R4T-Diffusion with its encoder and its database, as stored by the diffusion notebook.

    >>> FanoutRetriever.from_pretrained("artifacts/cpu/sample/04_diffusion_training/oar").search("boho festival", k=10)
    """

    def __init__(self, encoder: DualEncoder, denoiser: Denoiser, index: Index, titles: list[str], slots: int, sampling):
        self.encoder, self.denoiser, self.index, self.titles = encoder, denoiser, index, titles
        self.slots, self.sampling = slots, sampling

    def search(self, query: str, k: int = 10, seed: int = 0) -> pd.DataFrame:
        """One content for each of k directions, without repeats: columns id, title, direction, distance (0..2).

        Directions that land on a content already taken pass on to their next nearest. Another seed gives another set.
        Raises ValueError for an empty query, or k outside 1..L.
        """
        if not query.strip():
            raise ValueError("the query is empty; give it at least one word")
        if not 1 <= k <= min(self.slots, len(self.index)):
            raise ValueError(
                f"k={k} is not in 1..{min(self.slots, len(self.index))}: the retriever was trained for "
                f"{self.slots} directions over {len(self.index)} contents"
            )
        directions = self.directions([query], k, seed)[0]
        ids, distances = self.index.search(directions, k)
        taken: dict[int, dict] = {}
        for i in range(k):
            j = next(j for j in range(k) if int(ids[i, j]) not in taken)
            content = int(ids[i, j])
            taken[content] = {"id": content, "title": self.titles[content], "direction": i, "distance": distances[i, j]}
        return pd.DataFrame(taken.values())

    def directions(self, queries: list[str], k: int, seed: int = 0) -> np.ndarray:
        """k retrieval directions of each query: (n, k, d), unit norm."""
        return directions(self.denoiser, self.encoder.text(queries), k, self.slots, self.sampling, seed)

    @staticmethod
    def save(
        folder: Path, encoder: DualEncoder, denoiser: Denoiser, index: Index, titles: list[str], settings: Settings
    ) -> None:
        """Everything ``from_pretrained`` needs, in one folder."""
        shutil.rmtree(folder, ignore_errors=True)
        encoder.save(folder / "encoder")
        denoiser.save(folder / "denoiser")
        save_file({"vectors": index.vectors}, folder / "contents.safetensors")
        pd.DataFrame({"title": titles}).to_parquet(folder / "contents.parquet")
        sampling = {key: getattr(settings.diffusion, key) for key in ("sampler", "sampling_steps", "guidance")}
        config = {"slots": settings.synthesis.slots, "sampling": sampling}
        (folder / "retriever.json").write_text(json.dumps(config, indent=1))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "FanoutRetriever":
        """Load a retriever. Raises ValueError where the folder holds none."""
        from types import SimpleNamespace

        folder = Path(folder)
        if not (folder / "retriever.json").is_file():
            raise ValueError(
                f"{folder} holds no retriever (no retriever.json); train one with `make reproduce`, "
                "or name the folder .../04_diffusion_training/oar"
            )
        config = json.loads((folder / "retriever.json").read_text())
        return cls(
            DualEncoder.load(folder / "encoder"),
            Denoiser.load(folder / "denoiser"),
            Index(load_file(folder / "contents.safetensors")["vectors"]),
            pd.read_parquet(folder / "contents.parquet").title.tolist(),
            config["slots"],
            SimpleNamespace(**config["sampling"]),
        )
