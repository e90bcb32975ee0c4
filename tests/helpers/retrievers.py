"""A retriever with untrained weights over 30 titles, for the tests of the product and of what the README says of it."""

import torch
from denoisers import awake, settings

from r4t_utils.diffusion.denoiser import DenoiserConfig
from r4t_utils.retriever import FanoutRetriever
from r4t_utils.settings import Merging
from r4t_utils.space.encoder import DualEncoder, SentenceEncoder
from r4t_utils.space.index import Index

COLOURS = ("red", "blue", "white", "green", "black")
GARMENTS = ("dress", "coat", "boots", "hat", "bag", "scarf")


FUSION = Merging(rule="fusion", query_weight=0.5)


def untrained(
    d: int = 128, slots: int = 10, merging: Merging = FUSION, neighbours: int = 0, seed: int = 0
) -> FanoutRetriever:
    titles = [f"{colour} {garment}" for colour in COLOURS for garment in GARMENTS]
    sentence = SentenceEncoder()
    heads = torch.linalg.qr(torch.randn(384, d, generator=torch.Generator().manual_seed(seed))).Q.contiguous()
    encoder = DualEncoder(sentence, torch.zeros(384), heads, heads.clone())
    index = Index(encoder.content(sentence(titles)))
    how = settings(neighbours=neighbours)
    sizes = {name: getattr(how, name) for name in DenoiserConfig.model_fields if name != "d"}
    denoiser = awake(DenoiserConfig(d=d, **sizes), seed)
    return FanoutRetriever(encoder, denoiser, index, titles, slots, how, merging)
