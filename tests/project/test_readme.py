"""The README: its generated blocks are those of the recorded results, and its example runs."""

import re
import shutil
import subprocess

import pytest
import torch

from r4t_utils.diffusion.denoiser import Denoiser
from r4t_utils.retriever import FanoutRetriever
from r4t_utils.run import paths, readme
from r4t_utils.run.profiles import load
from r4t_utils.space.encoder import DualEncoder, SentenceEncoder
from r4t_utils.space.index import Index

README = (paths.ROOT / "README.md").read_text()
COMMITTED = {heading: paths.ROOT.joinpath("results", *run) for heading, run in readme.RUNS.items()}


def test_generated_blocks_are_those_of_the_results():
    if shutil.which("git") is None:
        pytest.skip("git is missing, which would tell whether results were recorded anew here")
    changed = subprocess.run(
        ["git", "status", "--porcelain", *COMMITTED.values()], cwd=paths.ROOT, text=True, capture_output=True
    )
    if changed.returncode or changed.stdout:
        pytest.skip("results were recorded anew here; `python -m r4t_utils.run.readme` draws the README from them")
    assert readme.fill(README, COMMITTED) == README


def test_both_runs_stand_beside_the_paper():
    lines = readme.claims_block(COMMITTED).splitlines()
    assert lines[0].count("[95 %]") == 2 and len(lines) == 2 + 7
    assert all(line.count("**") == 4 for line in lines[2:])


def test_a_missing_block_is_an_error():
    with pytest.raises(ValueError, match="blocks named 'claims'"):
        readme.fill("no block here", COMMITTED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A retriever with untrained weights over 30 titles."""
    titles = [
        f"{colour} {garment}"
        for colour in ("red", "blue", "white", "green", "black")
        for garment in ("dress", "coat", "boots", "hat", "bag", "scarf")
    ]
    settings = load("smoke", "synthesis.slots=10")
    sentence = SentenceEncoder()
    heads = torch.linalg.qr(torch.randn(384, 128, generator=torch.Generator().manual_seed(0))).Q.contiguous()
    encoder = DualEncoder(sentence, torch.zeros(384), heads, heads.clone())
    index = Index(encoder.content(sentence(titles)))
    target = tmp_path_factory.mktemp("retriever")
    FanoutRetriever.save(target, encoder, Denoiser.from_settings(128, settings.diffusion), index, titles, settings)
    return target


def test_the_example_runs(folder, capsys):
    example = re.search(r"```python\n(.*?)```", README, re.S)[1]
    assert len([line for line in example.splitlines() if line]) <= 5
    names = {}
    exec(example.replace("artifacts/cpu/sample/04_diffusion_training/oar", str(folder)), names)
    results = names["results"]
    assert len(results) == 10 and results.id.is_unique
    assert results.distance.between(0, 2).all()
    assert results.title[0] in capsys.readouterr().out


def test_the_same_seed_gives_the_same_set_and_another_one_another(folder):
    retriever = FanoutRetriever.from_pretrained(folder)
    one, same, other = (retriever.search("a red coat", seed=seed) for seed in (0, 0, 1))
    assert one.equals(same) and not one.equals(other)


@pytest.mark.parametrize("query, k, message", [("", 5, "empty"), ("coat", 0, "k=0"), ("coat", 11, "k=11")])
def test_bad_searches_name_the_rule(folder, query, k, message):
    with pytest.raises(ValueError, match=message):
        FanoutRetriever.from_pretrained(folder).search(query, k=k)


def test_a_folder_without_a_retriever(tmp_path):
    with pytest.raises(ValueError, match="holds no retriever"):
        FanoutRetriever.from_pretrained(tmp_path)
