from dataclasses import replace

import numpy as np
import pytest
import torch

from r4t_utils.data import sample
from r4t_utils.data.splits import near_to
from r4t_utils.run import profiles
from r4t_utils.space import finetune as finetuning
from r4t_utils.space.encoder import DualEncoder, SentenceEncoder
from r4t_utils.space.finetune import Pairs, finetune, taught_pairs, taught_titles

# A code word means a garment, which no model can know before; two items per content, one of which says nothing.
MEANS = {"zorp": "red hat", "quib": "blue scarf", "fland": "wool coat", "drex": "ankle boots"}
STYLES = ["quick", "slow", "loud", "calm", "late", "early"]
TAUGHT = Pairs(
    [f"{style} {word}" for word in MEANS for style in STYLES],
    [[MEANS[word], "a long and plain thing"] for word in MEANS for _ in STYLES],
)


def settings(**change):
    given = {"finetune_steps": 12, "finetune_layers": 1, "finetune_batch": 12, "finetune_items": 2}
    return profiles.load("smoke", "").encoder.model_copy(update=given | {"finetune_rate": 1e-3} | change)


@pytest.fixture(scope="module")
def sentence():
    return SentenceEncoder(device="cpu")


@pytest.fixture(scope="module")
def tuned(sentence):
    return finetune(sentence, [TAUGHT], settings(), 0)


def margin(encoder) -> float:
    """By how much a code word, in a style never taught, is nearer to its garment than to the others."""
    x, y = encoder([f"new {word}" for word in MEANS]), encoder([*MEANS.values()])
    cosine = x @ y.T
    return float(np.diag(cosine).mean() - cosine[~np.eye(len(x), dtype=bool)].mean())


def test_a_meaning_is_learnt_and_holds_for_texts_never_taught(sentence, tuned):
    assert margin(tuned) > margin(sentence) + 0.1


def test_the_published_encoder_stays_as_it_is(sentence, tuned):
    fresh = SentenceEncoder(device="cpu")
    for (name, a), (_, b) in zip(sentence.model.state_dict().items(), fresh.model.state_dict().items()):
        assert torch.equal(a, b), name
    assert (sentence.tuned, tuned.tuned) == (0, 1)
    assert tuned.memory is not sentence.memory


def test_only_the_upper_layers_change(sentence, tuned):
    pairs = zip(sentence.model.state_dict().items(), tuned.model.state_dict().values())
    changed = {name.split(".")[2] for (name, a), b in pairs if not torch.equal(a, b)}
    assert changed == {"5"}
    assert not any(weight.requires_grad for weight in tuned.tuned_layers().parameters())


def test_no_steps_is_no_change(sentence):
    assert finetune(sentence, [TAUGHT], settings(finetune_steps=0), 0) is sentence


@pytest.mark.training
def test_the_same_seed_gives_the_same_bits_and_another_does_not(sentence, tuned):
    state = torch.random.get_rng_state()
    again, other = (finetune(sentence, [TAUGHT], settings(), seed) for seed in (0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    for weights, equal in ((again, True), (other, False)):
        found = zip(weights.tuned_layers().parameters(), tuned.tuned_layers().parameters())
        assert all(torch.equal(a, b) for a, b in found) is equal


def test_cached_states_give_the_embeddings_of_the_whole_model(sentence):
    twin = sentence.twin(2)
    batch = Pairs(["zorp", "a very much longer text"], [["red hat", "a", "blue wool scarf"], ["a"]])
    texts, contents = finetuning._Lower(twin, finetuning._all_texts(batch)).embed(batch)
    np.testing.assert_allclose(texts.detach(), sentence(batch.texts), atol=2e-6)
    np.testing.assert_allclose(contents.detach()[0], sentence(batch.contents[0]).mean(0), atol=2e-6)
    np.testing.assert_allclose(contents.detach()[1], sentence(["a"])[0], atol=2e-6)


def test_a_stored_encoder_is_the_same_to_the_bit(sentence, tuned, tmp_path):
    heads = [torch.randn(384, 8, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    encoder = DualEncoder(tuned, torch.zeros(384), *heads)
    encoder.save(tmp_path)
    for published in (None, sentence):
        loaded = DualEncoder.load(tmp_path, published)
        np.testing.assert_array_equal(loaded.text(TAUGHT.texts), encoder.text(TAUGHT.texts))
        assert loaded.sentence.tuned == 1
    assert sentence.tuned == 0
    assert (tmp_path / "layers.safetensors").stat().st_size < 4e6  # one layer of 1.8 M weights in float16


@pytest.mark.parametrize(
    "damage, fault",
    [
        (lambda path: path.unlink(), "layers.safetensors is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "layers.safetensors cannot be read: cut short"),
        (lambda path: path.write_bytes((path.parent / "heads.safetensors").read_bytes()), "layers.*does not hold"),
    ],
)
def test_damaged_layers_are_named(sentence, tuned, tmp_path, damage, fault):
    DualEncoder(tuned, torch.zeros(384), torch.ones(384, 4), torch.ones(384, 4)).save(tmp_path)
    damage(tmp_path / "layers.safetensors")
    with pytest.raises(ValueError, match=fault):
        DualEncoder.load(tmp_path, sentence)


def test_batches_hold_one_kind_and_draw_some_items_of_each_content():
    other = Pairs([f"other {i}" for i in range(30)], [[f"item {i} {j}" for j in range(5)] for i in range(30)])
    plan = finetuning._plan([TAUGHT, other], settings(finetune_steps=9), 0)
    assert len(plan) == 9
    assert {len(batch.texts) for batch in plan} == {12}
    for batch in plan:
        kind = other if batch.texts[0] in other.texts else TAUGHT
        content_of = dict(zip(kind.texts, kind.contents))
        for text, content in zip(batch.texts, batch.contents):
            assert len(set(content)) == 2 and set(content) <= set(content_of[text])
    assert len({tuple(batch.texts) for batch in plan}) == 9


def test_a_text_that_is_all_of_its_content_teaches_nothing(sentence):
    alone = Pairs(["hat", "scarf", "coat"], [["hat"], ["scarf"], ["coat"]])
    with pytest.raises(ValueError, match="no pairs to fine-tune.*at least two.*finetune_steps=0"):
        finetune(sentence, [alone], settings(), 0)


def test_nothing_held_out_is_taught():
    corpus = sample.generate(1100, 200, 200)
    first = corpus.collections.title.iloc[0]
    asked = corpus.oar.assign(query=[first, *corpus.oar["query"][1:]], split=["test", *corpus.oar.split[1:]])
    titles, queries = taught_pairs(replace(corpus, oar=asked))
    held = corpus.wscr[corpus.wscr.split != "train"]
    texts = {frozenset(corpus.items.title.iloc[list(ids)]) for ids in corpus.collections["items"].iloc[held.collection]}
    assert first not in titles.texts
    assert not texts & {frozenset(content) for content in titles.contents}
    assert queries.texts == replace(corpus, oar=asked).queries("wscr", "train")["query"].tolist()
    unseen = [query for table in (asked, corpus.wscr) for query in table.loc[table.split != "train", "query"]]
    assert not near_to([*titles.texts, *queries.texts], unseen).any()
    assert len(titles.texts) == len(taught_titles(replace(corpus, oar=asked))) > 100
    assert not any(character.isdigit() for text in titles.texts for character in text)
