"""A stage reads the settings that it declares and no other, and is fresh by exactly these."""

import ast
import dataclasses
import re

import cloudpickle
import pytest

from r4t_utils.run import paths, stage
from r4t_utils.run.notebooks import read
from r4t_utils.run.run import Run
from r4t_utils.run.stage import STAGES, ArtifactError
from r4t_utils.settings import SECTIONS, SettingsError

SMOKE = Run.checked("smoke")
EVERY = [(section, key) for section, model in SECTIONS.items() for key in model.model_fields]


def reads(name: str) -> set[str]:
    """Every setting that a notebook reads, as "section.key", or "section" where it is handed on whole."""
    cells = [cell.source for cell in read(paths.ROOT / "notebooks" / f"{name}.ipynb").cells if cell.cell_type == "code"]
    tree, found = ast.parse("\n".join(cells)), set()
    inner = {id(node.value): node for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "settings":
            found.add(f"{node.attr}.{inner[id(node)].attr}" if id(node) in inner else node.attr)
    return {one for one in found if one.partition(".")[0] not in found or "." not in one}


def declares(name: str, section: str, key: str) -> bool:
    return not {section, f"{section}.{key}"}.isdisjoint(STAGES[name].reads)


@pytest.fixture
def made(folders):
    """All six stages, made with the smoke profile."""
    for name in STAGES:
        run = stage.begin(name, profile="smoke", dataset="sample")
        run.path("numbers.json").write_text(f'"{name}"')
        run.finish()
    return folders


@pytest.mark.parametrize("name", STAGES)
def test_a_notebook_reads_what_its_recipe_declares(name):
    declared = STAGES[name].reads
    for one in reads(name):
        assert one in declared or one.partition(".")[0] in declared, f"{name} reads {one}"
    for one in declared:
        assert any(found == one or found.startswith(f"{one}.") for found in reads(name)), f"{name} never reads {one}"


def other(value):
    """A value of the same type that differs."""
    if isinstance(value, str):
        return value + "x"
    return (*value, 9999) if isinstance(value, tuple) else value + 1


def test_every_setting_makes_stale_exactly_the_stages_that_declare_it(made):
    assert not any(stage.stale(name, SMOKE) for name in STAGES)
    for section, key in EVERY:
        old = getattr(SMOKE.settings, section)
        changed = old.model_copy(update={key: other(getattr(old, key))})
        run = dataclasses.replace(SMOKE, settings=SMOKE.settings.model_copy(update={section: changed}))
        stale = {name for name in STAGES if f"made with {section}.{key}=" in stage.stale(name, run)}
        assert stale == {name for name in STAGES if declares(name, section, key)}, f"{section}.{key}"


def test_every_setting_is_read_by_some_stage():
    assert not [f"{s}.{k}" for s, k in EVERY if not any(declares(name, s, k) for name in STAGES)]


def test_a_setting_that_is_not_declared_is_refused_by_name():
    view = stage.declared(SMOKE.settings, "01_data_curation")
    assert view.corpus == SMOKE.settings.corpus and view.folm.k == SMOKE.settings.folm.k
    for reading in (lambda: view.evaluation, lambda: view.folm.temperature, lambda: view.rl.steps):
        with pytest.raises(SettingsError, match="does not declare the setting '(evaluation|temperature|rl)'.*reads"):
            reading()


def test_what_a_stage_may_read_travels_to_another_process():
    view = cloudpickle.loads(cloudpickle.dumps(stage.declared(SMOKE.settings, "04_diffusion_training")))
    assert view.diffusion == SMOKE.settings.diffusion and view.folm.k == SMOKE.settings.folm.k
    with pytest.raises(SettingsError):
        assert view.rl


@pytest.mark.parametrize("setting, first", [("rl.steps=2", "02_rl_fanout"), ("encoder.epochs=9", "01_data_curation")])
def test_a_stage_refuses_other_settings_however_far_back(made, setting, first):
    for name in ("04_diffusion_training", "05_evaluation", "06_latency_study"):
        with pytest.raises(ArtifactError, match=f"{name} needs {first} .*made with {setting[:5]}") as error:
            stage.begin(name, profile="smoke", dataset="sample", overrides=setting)
        assert re.search(f"run `make {first[:2]} PROFILE=smoke DATASET=sample SET={setting}` first", str(error.value))
