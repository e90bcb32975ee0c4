"""R4T-Diffusion with its encoder and its database: sets for queries, filters, other databases, saving and sharing."""

import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from safetensors.numpy import save_file

from r4t_utils.diffusion.denoiser import Denoiser
from r4t_utils.diffusion.directions import directions
from r4t_utils.diffusion.samplers import How, Sampling
from r4t_utils.machine.checks import damaged, file_hash, read, read_json, require_text, whole
from r4t_utils.retriever import card
from r4t_utils.settings import Count, Merging, Section
from r4t_utils.space.encoder import DualEncoder
from r4t_utils.space.index import Index, Searchable, load_indices
from r4t_utils.space.merging import find

CONFIG, CARD = "retriever.json", "README.md"
PARTS = {CONFIG, CARD, "encoder", "denoiser", "contents.safetensors", "contents.parquet"}
REMEMBERED = 1000  # texts whose embeddings are kept, at most

Filter = Iterable[int] | Callable[[int, str], bool] | None


class RetrieverConfig(Section):
    """`slots`: L, the rows that the denoiser was trained to emit at once; how they are sampled; how what they find
    becomes one set; and the sha256 of each file beside it."""

    slots: Count
    sampling: Sampling
    merging: Merging
    files: dict[str, str]


class FanoutRetriever(ModelHubMixin):
    """R4T-Diffusion with its encoder and its database, as stored by the diffusion notebook.

    >>> folder = "artifacts/cpu/sample/seed-0/04_diffusion_training/oar"
    >>> FanoutRetriever.from_pretrained(folder).search("boho festival", k=10)

    `titles` is what a person reads of each content. Raises ValueError for parts of different widths d, for an index
    over another encoder's vectors, or a number of titles that is not that of the contents.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        denoiser: Denoiser,
        index: Searchable,
        titles: Sequence[str],
        slots: int,
        how: How,
        merging: Merging,
    ):
        self._hub_mixin_config = None  # which the mixin would write beside `CONFIG`, titles and all
        d = {"encoder": encoder.d, "denoiser": denoiser.config.d, "index": index.d}
        if len(set(d.values())) > 1 or len(titles) != len(index):
            parts = f"widths {d}, {len(titles)} titles for {len(index)} contents"
            raise ValueError(f"the parts do not fit each other: {parts}; take those of one run")
        if index.space and index.space != encoder.space:
            why = f"the index holds vectors of the encoder {index.space}, and this one is {encoder.space}"
            raise ValueError(f"{why}; embed the contents anew with `embed`")
        self.encoder, self.denoiser, self.index, self.titles = encoder, denoiser, index, list(titles)
        self.slots, self.merging, self.card = slots, merging, ""
        self._alone = threading.Lock()
        self.sampling = Sampling(sampler=how.sampler, sampling_steps=how.sampling_steps, guidance=how.guidance)

    def search(self, query: str, k: int = 10, seed: int = 0, allowed: Filter = None) -> pd.DataFrame:
        """What k directions find, merged into one set of k different contents (but for the rule top1), best first.

        Columns: id; title; cosine with the query (-1..1); direction, the number of the one that points nearest to the
        content; distance (0..2) from it; and found_by, the directions among whose own k nearest the content is, with
        "query" where it is among the query's own: "query, 3, 7". The frame's attrs name the rule ("merging") and its
        "query_weight". The same seed gives the same set, and another one another.

        `allowed`: the ids that may be found, or a function of id and title that says whether one may. Where fewer than
        k may, all of them are found, and attrs["short"] says so.

        Raises ValueError for a query without a visible character or of more than LONGEST, k outside 1..L or above the
        number of contents, a seed that is not a whole number below 2^32, or an allowed id that no content has.
        """
        return self.search_many([query], k, seed, allowed)[0]

    def search_many(
        self, queries: Sequence[str], k: int = 10, seed: int = 0, allowed: Filter = None
    ) -> list[pd.DataFrame]:
        """What `search` finds for each query, in one pass of the encoder and the denoiser."""
        among, z_q = self._among(allowed), self.encode(queries)
        rows, found = self._pointing(z_q, k, seed, among), min(k, len(self.index) if among is None else len(among))
        asked, n = np.concatenate([z_q[:, None], rows], axis=1), len(z_q)  # (n, 1 + k, d)
        sets, near = np.zeros((n, found), np.int64), np.zeros((n, 1 + k, found), np.int64)
        if sets.size:
            sets = find(self.index, rows, z_q, found, self.merging, among)
            near = self.index.search(asked.reshape(-1, self.encoder.d), found, among)[0].reshape(near.shape)
        return [self._told(*each, k) for each in zip(sets, near, asked, self.index.take(sets))]

    def per_direction(self, query: str, n: int = 3, k: int = 10, seed: int = 0, allowed: Filter = None) -> pd.DataFrame:
        """The n nearest contents of each of k directions, unmerged: direction, rank (from 0), id, title, distance.

        Fewer than n where `allowed` leaves fewer. Raises ValueError as `search` does, and for n below 1 or above the
        number of contents.
        """
        n = whole("n", n, 1, len(self.index), "there are no more contents")
        among = self._among(allowed)
        rows = self._pointing(self.encode([query]), k, seed, among)[0]
        n = n if among is None else min(n, len(among))
        ids, distance = self.index.search(rows, n, among) if n else np.zeros((2, k, 0), np.int64)
        place = {"direction": np.repeat(np.arange(k), n), "rank": np.tile(np.arange(n), k), "id": ids.ravel()}
        return pd.DataFrame(place | {"title": [self.titles[i] for i in ids.ravel()], "distance": distance.ravel()})

    def directions(self, queries: Sequence[str], k: int, seed: int = 0) -> np.ndarray:
        """k retrieval directions of each query: (n, k, d), unit norm. A query's do not depend on those beside it.

        Raises ValueError as `search` does.
        """
        return self._pointing(self.encode(queries), k, seed)

    def _pointing(self, z_q: np.ndarray, k: int, seed: int, among: np.ndarray | None = None) -> np.ndarray:
        most = f"the retriever was trained for {self.slots} directions over {len(self.index)} contents"
        k = whole("k", k, 1, min(self.slots, len(self.index)), most)
        if not len(z_q):
            return np.zeros((0, k, self.encoder.d), np.float32)
        given = self.denoiser, z_q, self.index, k, self.slots, self.sampling, seed
        return directions(*given, among, alike=True)

    def encode(self, queries: Sequence[str]) -> np.ndarray:
        """e_text of queries, (n, d), unit norm. Raises ValueError as `search` does, and for one text in their place."""
        return self._encoded(self.encoder.text, queries)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (n, d) of contents that are texts, for an index of your own. Raises ValueError as `encode` does."""
        return self._encoded(lambda given: self.encoder.content(self.encoder.sentence(given)), texts)

    def _encoded(self, encode: Callable[[list[str]], np.ndarray], texts: Iterable[str]) -> np.ndarray:
        if isinstance(texts, str):
            raise ValueError(f"{texts!r} is one text where several are asked for; put it in a list, or ask `search`")
        texts = list(texts)
        for text in texts:
            require_text(text)
        with self._alone:  # a tokenizer must not be asked by two threads at once
            rows = encode(texts)
            if len(self.encoder.sentence.memory) > REMEMBERED:
                self.encoder.forget()
        return rows

    def over(self, index: Searchable, titles: Sequence[str]) -> "FanoutRetriever":
        """The same retriever upon another database, such as `Index(retriever.embed(texts), retriever.encoder.space)`.

        Raises ValueError as the class does.
        """
        parts = self.slots, self.sampling, self.merging
        other = FanoutRetriever(self.encoder, self.denoiser, index, titles, *parts)
        other._alone = self._alone  # one tokenizer serves both
        return other

    def _among(self, allowed: Filter) -> np.ndarray | None:
        """The ids that may be found, each once; None: all."""
        if allowed is None:
            return None
        if callable(allowed):
            return np.array([i for i, title in enumerate(self.titles) if allowed(i, title)], np.int64)
        if not isinstance(allowed, Iterable):
            raise ValueError(f"allowed={allowed!r} must be ids, or a function of id and title; put one id in a list")
        ids = sorted({whole("an allowed id", i, 0, len(self.titles) - 1, "no other content is there") for i in allowed})
        return np.array(ids, np.int64)

    def _told(self, ids: np.ndarray, near: np.ndarray, asked: np.ndarray, vectors: np.ndarray, k: int) -> pd.DataFrame:
        """One set, ids (m,) of contents with their vectors (m, d), given what the query and its k directions asked
        (1 + k, d) find nearest, near (1 + k, m)."""
        names = ["query", *map(str, range(k))]
        by = (near[None] == ids[:, None, None]).any(2)  # (m, 1 + k)
        cosine = vectors @ asked.T
        columns = {"id": ids, "title": [self.titles[i] for i in ids], "cosine": cosine[:, 0]}
        columns["direction"] = cosine[:, 1:].argmax(1)
        columns["distance"] = np.sqrt(np.clip(2 - 2 * cosine[:, 1:].max(1), 0, 4))
        columns["found_by"] = [", ".join(name for name, at in zip(names, row) if at) for row in by]
        found = pd.DataFrame(columns)
        found.attrs = {"merging": self.merging.rule, "query_weight": self.merging.query_weight}
        if len(ids) < k:
            found.attrs["short"] = f"{len(ids)} of {k}: the filter leaves no more"
        return found

    def save_pretrained(self, folder: str | Path, record: str | Path = "", **options) -> str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """All that `from_pretrained` needs, and a model card. Replaces a retriever in the folder; what else lies beside
        it, such as .git, stays.

        `record`: a folder of results, such as results/cpu/sample, whose scores and claims the card shows from then on,
        also where it is pushed to the hub. Further `options` are those of the hub's mixin; with push_to_hub=True, what
        was saved is pushed to `repo_id`, or to one of the folder's name. An approximate index is saved as its vectors,
        and loaded exact.

        Raises ValueError if the folder holds files and no retriever, for an index whose vectors lie elsewhere, or for a
        record that is none; nothing that was there is lost.
        """
        folder = Path(folder).resolve()
        partial, former = (folder.with_name(f".{folder.name}.{end}") for end in ("partial", "former"))
        if former.is_dir() and not folder.exists():
            former.rename(folder)  # a save was cut short between its two renames
        if folder.is_file() or folder.is_dir() and any(folder.iterdir()) and not (folder / CONFIG).is_file():
            raise ValueError(f"{folder} holds something else than a retriever; name a new folder")
        if record:
            self.card = card.written(self._facts(), card.read_record(Path(record)))
        shutil.rmtree(partial, ignore_errors=True)
        pushing, repository = options.pop("push_to_hub", False), options.pop("repo_id", None) or folder.name
        told = {name: options.pop(name) for name in ("config", "model_card_kwargs") if name in options}
        super().save_pretrained(partial, **told)
        if folder.is_dir():
            shutil.copytree(
                folder,
                partial,
                symlinks=True,
                dirs_exist_ok=True,
                ignore=lambda where, _: PARTS if where == str(folder) else (),
            )
            shutil.rmtree(former, ignore_errors=True)
            folder.rename(former)
        partial.rename(folder)
        shutil.rmtree(former, ignore_errors=True)
        return self.push_to_hub(repository, **told, **options) if pushing else None

    def _save_pretrained(self, save_directory: Path) -> None:
        if not isinstance(self.index, Index):
            why = "the index keeps its vectors elsewhere, and a folder holds them"
            raise ValueError(f"{why}; save the retriever that you built it with, and attach the index with `over`")
        self.encoder.save(save_directory / "encoder")
        self.denoiser.save(save_directory / "denoiser")
        save_file({"vectors": self.index.vectors}, save_directory / "contents.safetensors")
        pd.DataFrame({"title": self.titles}).to_parquet(save_directory / "contents.parquet")
        written = sorted(p for p in save_directory.rglob("*") if p.is_file())
        files = {p.relative_to(save_directory).as_posix(): file_hash(p) for p in written}
        config = RetrieverConfig(slots=self.slots, sampling=self.sampling, merging=self.merging, files=files)
        (save_directory / CONFIG).write_text(config.model_dump_json(indent=1))

    def generate_model_card(self, *args, **kwargs) -> ModelCard:
        """What the retriever is made of and, where a record was given, how it scored."""
        return ModelCard(self.card or card.written(self._facts()))

    def _facts(self) -> dict[str, object]:
        facts: dict[str, object] = {"contents": len(self.index), "d": self.encoder.d, "space": self.encoder.space}
        facts |= {"slots": self.slots} | self.sampling.model_dump() | self.merging.model_dump()
        return facts | {"parameters": sum(p.numel() for p in self.denoiser.parameters())}

    @classmethod
    def from_pretrained(cls, folder: str | Path, revision: str | None = None, **options) -> "FanoutRetriever":  # pyright: ignore[reportIncompatibleMethodOverride]
        """What `save_pretrained` wrote: a folder, or the id of a repository on the hub, with the options of its client.

        Raises ValueError without one, or for a file missing, damaged, of another version or run.
        """
        where = Path(folder)
        if not where.exists() and str(folder).count("/") == 1:
            where = _fetched(str(folder), revision, **options)
        if not (where / CONFIG).is_file():
            remedy = "train one with `make reproduce`, or name the folder .../04_diffusion_training/oar"
            raise ValueError(f"{where} holds no retriever (no {CONFIG}); {remedy}")
        config = read_json(where / CONFIG, RetrieverConfig)
        titles = read(where / "contents.parquet", lambda path: pd.read_parquet(path).title.tolist())
        encoder, denoiser = DualEncoder.load(where / "encoder"), Denoiser.load(where / "denoiser")
        if denoiser.config.d != encoder.d:
            what = f"has d={denoiser.config.d}, but encoder/encoder.json d={encoder.d}"
            raise damaged(where / "denoiser" / "config.json", what)
        shapes, source = {"vectors": (len(titles), encoder.d)}, "contents.parquet with encoder/encoder.json"
        (index,) = load_indices(where / "contents.safetensors", shapes, source, encoder.space)
        for name, sha256 in config.files.items():
            if not (where / name).is_file() or file_hash(where / name) != sha256:
                raise damaged(where / name, f"is not the file that {CONFIG} was saved with: of another run, or changed")
        found = cls(encoder, denoiser, index, titles, config.slots, config.sampling, config.merging)
        if (where / CARD).is_file():
            found.card = read(where / CARD, lambda path: path.read_text(encoding="utf-8"))
        return found


def _fetched(repository: str, revision: str | None, **options) -> Path:
    try:
        return Path(snapshot_download(repository, revision=revision, **options))
    except Exception as error:  # whatever the hub's client makes of a name, of the network or of rights
        reason = " ".join(str(error).split())
        what = f"{repository!r} is no folder with a retriever, and the hub gives none by that id ({reason})"
        raise ValueError(f"{what}; correct the name, or train one with `make reproduce`") from None
