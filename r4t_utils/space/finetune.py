"""Fine-tuning of the sentence encoder on the pairs that its heads are fitted on, before they are.

MiniLM knows what words mean in general, and a linear head can only turn and weigh what it says. The paper trains its
CLIP on the data; we train the upper layers of MiniLM by InfoNCE: a text against the mean of some items of its content.
Two things make that cheap on a processor. What the lower layers, which stay as they are, give for a text is computed
once. And texts of the same number of tokens go through the upper layers together, so that nothing is padded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from r4t_utils.data.corpus import Corpus
from r4t_utils.data.text import topic_words
from r4t_utils.machine import progress
from r4t_utils.machine.device import half_products
from r4t_utils.settings import EncoderSettings
from r4t_utils.space.encoder import SentenceEncoder, info_nce

LOWER_BATCH = 256  # texts at once through the layers that stay as they are
NORM = 1.0  # the longest gradient


@dataclass(frozen=True)
class Pairs:
    """n texts, and for each the texts of the items whose mean is its content."""

    texts: list[str]
    contents: list[list[str]]


def taught_titles(corpus: Corpus) -> np.ndarray:
    """Which collections (rows) teach with their titles: those allowed to, if the title has a topic and no digit."""
    titles = corpus.collections["title"]
    telling = np.array([bool(topic_words(title)) and not any(map(str.isdigit, title)) for title in titles])
    return np.flatnonzero(telling & corpus.training_collections())


def taught_pairs(corpus: Corpus) -> list[Pairs]:
    """What may be learnt from: titles of `taught_titles` with their items, and training queries of WSCR with theirs.

    No text is near to a validation or test query of either task, nor is an outfit that one was written for among the
    contents.
    """
    items = corpus.items["title"].tolist()
    outfits, asked = corpus.collections.iloc[taught_titles(corpus)], corpus.queries("wscr", "train")
    kinds = (outfits["title"], outfits["items"]), (asked["query"], asked["items"])
    return [Pairs(texts.tolist(), [[items[i] for i in members] for members in sets]) for texts, sets in kinds]


def finetune(sentence: SentenceEncoder, kinds: list[Pairs], settings: EncoderSettings, seed: int) -> SentenceEncoder:
    """A copy of ``sentence`` whose upper layers are tuned by ``settings.finetune_steps`` updates; itself where 0.

    A batch holds one kind of pairs. Weights end at values that float16 holds, so that a stored encoder is the same to
    the bit. Raises ValueError where there are fewer than two pairs whose text is not the whole of its content.
    """
    s = settings
    if not s.finetune_steps:
        return sentence
    tuned = sentence.twin(s.finetune_layers)
    plan = _plan([kind for kind in map(_telling, kinds) if len(kind.texts) > 1], s, seed)
    lower = _Lower(tuned, sorted({text for batch in plan for text in _all_texts(batch)}))
    weights = [weight.requires_grad_() for weight in tuned.tuned_layers().parameters()]
    optimiser = torch.optim.AdamW(weights, lr=s.finetune_rate, weight_decay=1e-2)
    rise = max(1, len(plan) // 10)
    fall = max(1, len(plan) - rise)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: min((i + 1) / rise, (len(plan) - i) / fall))
    with progress.Bar(len(plan), "fine-tune the sentence encoder") as bar:
        for batch in plan:
            loss = info_nce(*lower.embed(batch), s.finetune_temperature)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, NORM)
            optimiser.step()
            rate.step()
            bar.update(1, loss=loss.item())
    with torch.no_grad():
        for weight in weights:
            weight.requires_grad_(False).copy_(weight.half().float())
    return tuned


def _telling(kind: Pairs) -> Pairs:
    """The pairs whose text is not the whole of its content: of those there is nothing to learn."""
    kept = [(text, content) for text, content in zip(kind.texts, kind.contents) if set(content) != {text}]
    return Pairs([text for text, _ in kept], [content for _, content in kept])


def _plan(kinds: list[Pairs], s: EncoderSettings, seed: int) -> list[Pairs]:
    """The batches of all updates, drawn beforehand: pass after pass over every kind, in random order."""
    if not kinds:
        rule = "at least two must have a text that is not the whole of its content"
        raise ValueError(f"no pairs to fine-tune the encoder on: {rule}; use more, or set encoder.finetune_steps=0")
    rng, plan = np.random.default_rng(seed), []
    while len(plan) < s.finetune_steps:
        batches = []
        for kind in kinds:
            order, size = rng.permutation(len(kind.texts)), s.finetune_batch
            for start in range(0, max(1, len(order) - size + 1), size):
                rows = order[start : start + size]
                drawn = [[kind.contents[i][j] for j in _some(kind.contents[i], s.finetune_items, rng)] for i in rows]
                batches.append(Pairs([kind.texts[i] for i in rows], drawn))
        plan += [batches[i] for i in rng.permutation(len(batches))]
    return plan[: s.finetune_steps]


def _some(content: list[str], most: int, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(len(content))[:most]


def _all_texts(batch: Pairs) -> list[str]:
    """The different texts of a batch, in order."""
    return list(dict.fromkeys([*batch.texts, *(text for content in batch.contents for text in content)]))


class _Lower:
    """The states (length, width) of texts below the tuned layers, and from there the embeddings of a batch."""

    @torch.no_grad()
    def __init__(self, sentence: SentenceEncoder, texts: list[str]):
        self.sentence, self.states = sentence, {}
        model, rows = sentence.model, sentence.tokenizer(texts, truncation=True)["input_ids"]
        below = model.encoder.layer[: len(model.encoder.layer) - sentence.tuned]
        alike: dict[int, list[int]] = {}
        for i, row in enumerate(rows):
            alike.setdefault(len(row), []).append(i)
        chunks = [same[i : i + LOWER_BATCH] for same in alike.values() for i in range(0, len(same), LOWER_BATCH)]
        for chunk in progress.track(chunks, "encode what is tuned on"):
            states = model.embeddings(torch.tensor([rows[i] for i in chunk], device=sentence.device))
            with half_products():
                for layer in below:
                    states = layer(states)
            self.states.update((texts[i], state) for i, state in zip(chunk, states))

    def embed(self, batch: Pairs) -> tuple[Tensor, Tensor]:
        """Embeddings (n, 384) of the texts of a batch, and means of those of their contents."""
        alike: dict[int, list[str]] = {}
        for text in _all_texts(batch):
            alike.setdefault(len(self.states[text]), []).append(text)
        pooled = []
        for same in alike.values():
            states = torch.stack([self.states[text] for text in same])
            with half_products():
                for layer in self.sentence.tuned_layers():
                    states = layer(states)
            pooled.append(states.float().mean(1))
        vectors = torch.nn.functional.normalize(torch.cat(pooled), dim=-1)
        column = {text: i for i, text in enumerate(text for same in alike.values() for text in same)}
        sides = [[text] for text in batch.texts], batch.contents
        texts, contents = (self._means(side, column) @ vectors for side in sides)
        return texts, contents

    def _means(self, sets: Sequence[list[str]], column: dict[str, int]) -> Tensor:
        """The matrix (sets, columns) that takes means: adding up by index is not repeatable on several threads."""
        means = np.zeros((len(sets), len(column)), np.float32)
        for i, texts in enumerate(sets):
            for text in texts:
                means[i, column[text]] += 1 / len(texts)
        return torch.from_numpy(means).to(self.sentence.device)
