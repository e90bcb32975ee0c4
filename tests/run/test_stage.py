import ast
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import toys

from r4t_utils.run import files, manifest, paths, stage
from r4t_utils.run.code import _shape, code_hash, module_hash
from r4t_utils.run.run import Run
from r4t_utils.run.stage import ArtifactError
from r4t_utils.settings import SettingsError

FIRST, SECOND = "01_data_curation", "02_rl_fanout"
SMOKE = Run.checked("smoke")


def begin(name, **changes):
    return stage.begin(name, **{"profile": "smoke", "dataset": "sample", **changes})


def make(name, text="[1, 2]", **changes):
    run = begin(name, **changes)
    run.path("model/numbers.json").write_text(text)
    run.record("toy", pd.DataFrame({"x": [0.1, 2.0]}))
    run.finish(items=3)
    return run


@pytest.fixture
def made(folders):
    toys.save(folders / "notebooks", FIRST, toys.FIRST)
    toys.save(folders / "notebooks", SECOND, toys.SECOND)
    make(FIRST)
    return SMOKE.folder(FIRST)


def refused(folders, name, error=ArtifactError, **changes):
    """The message of the refusal; nothing on disk may have changed."""
    before = toys.contents(folders)
    with pytest.raises(error) as caught:
        begin(name, **changes)
    assert toys.contents(folders) == before
    assert not list(folders.rglob("*.partial"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_finished_stage_is_complete_and_can_be_read(made):
    run = begin(SECOND)
    assert (run.input(FIRST) / "model/numbers.json").read_text() == "[1, 2]"
    facts = json.loads((made / "manifest.json").read_text())
    assert facts["summary"] == {"items": 3}
    assert facts["settings"] == stage.declared_dict(SMOKE.settings, FIRST)
    assert set(facts["files"]) == {"model/numbers.json"}
    assert {"versions", "commit", "hardware", "wall_time_s", "seed", "inputs"} <= set(facts)
    assert (SMOKE.results / "toy.csv").read_text() == "x\n0.1\n2.0\n"
    assert not stage.stale(FIRST, Run.checked("smoke"))


def test_finish_counts_what_it_wrote_and_table_lists_settings(folders, capsys):
    run = begin(FIRST)
    run.path("a.json").write_bytes(b"x" * 1500)
    line, heading, *rows = repr(run.table()).splitlines()
    assert line.startswith("Settings: profile smoke, data sample, seed 0; ") and "differ from the paper's" in line
    assert any(row.split()[:3] == ["corpus.n_outfits", str(run.settings.corpus.n_outfits), "21888"] for row in rows)
    run.finish()
    assert capsys.readouterr().out == f"{FIRST}: 1 file for the next notebooks, 0 tables for readers\n"
    with pytest.raises(ArtifactError, match="finished"):
        run.path("late.json")


def test_evaluation_before_training_is_refused(made, folders):
    make(SECOND)
    message = refused(folders, "05_evaluation")
    assert "03_pair_synthesis" in message and "make 03 PROFILE=smoke" in message


def test_a_truncated_artifact_is_refused(made, folders):
    (made / "model/numbers.json").write_text("[1,")
    assert "3 bytes instead of 6" in refused(folders, SECOND)


def test_a_changed_artifact_of_the_same_size_is_refused(made, folders):
    (made / "model/numbers.json").write_text("[1, 3]")
    assert "content of model/numbers.json" in refused(folders, SECOND)


def test_a_missing_file_is_refused(made, folders):
    (made / "model/numbers.json").unlink()
    assert "is missing" in refused(folders, SECOND)


@pytest.mark.parametrize(
    "damage",
    [
        lambda t: t[: len(t) // 2],
        lambda t: "{}",
        lambda t: "null",
        lambda t: t.replace('"seed": 0', '"seed": 1'),
    ],
)
def test_a_damaged_manifest_is_refused(made, folders, damage):
    path = made / "manifest.json"
    path.write_text(damage(path.read_text()))
    assert "manifest is missing or damaged" in refused(folders, SECOND)


def test_an_artifact_of_another_profile_is_refused(made, folders):
    other = Run.checked("cpu").folder(FIRST)
    other.parent.mkdir(parents=True)
    made.rename(other)
    assert "profile='smoke'" in refused(folders, SECOND, profile="cpu")


def test_an_artifact_of_other_settings_is_refused_by_name(made, folders):
    message = refused(folders, SECOND, overrides="encoder.epochs=7")
    assert "encoder.epochs=2" in message and "7" in message and "SET=encoder.epochs=7" in message


def test_an_artifact_of_another_seed_is_refused(made, folders):
    shutil.copytree(made, Run.checked("smoke", seed=1).folder(FIRST))
    assert "seed=0" in refused(folders, SECOND, seed=1)


def test_settings_that_a_stage_does_not_use_do_not_matter(made):
    begin(SECOND, overrides="latency.repeats=9")


def test_a_stage_whose_input_was_made_anew_is_refused(made, folders):
    make(SECOND)
    make(FIRST, text="[9, 9]")
    assert f"{FIRST} has been made anew" in refused(folders, "03_pair_synthesis")


def test_making_the_same_input_again_changes_nothing(made):
    make(SECOND)
    make(FIRST)
    begin("03_pair_synthesis")


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"profile": "big"}, "'big'"),
        ({"dataset": "films"}, "'films'"),
        ({"seed": -1}, "-1"),
        ({"seed": "0"}, "'0'"),
        ({"seed": True}, "True"),
        ({"seed": 2**32}, "2**32"),
        ({"overrides": "a.b=1"}, "'a'"),
        ({"dataset": "polyvore"}, "data_dir"),
        ({"dataset": "polyvore", "data_dir": "/no/such"}, "/no/such"),
        ({"data_dir": "x"}, "not used"),
        ({"data_dir": 3, "dataset": "polyvore"}, "not text"),
    ],
)
def test_bad_parameters_are_refused_before_any_work(made, folders, changes, word):
    assert word in refused(folders, FIRST, SettingsError, **changes)


def test_an_unknown_stage_is_refused(folders):
    assert "01_data_curation" in refused(folders, "07_more", SettingsError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_data_folder_is_refused(folders, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    assert "read" in refused(folders, FIRST, SettingsError, dataset="polyvore", data_dir=str(locked))


def test_the_data_folder_may_come_from_the_environment(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("R4T_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("r4t_utils.run.run.sources.label", lambda *_: "polyvore", raising=False)
    assert Run.checked("smoke", "polyvore").data_dir == tmp_path
    assert Run.checked("smoke", "sample").data_dir is None


def test_an_unfinished_run_leaves_the_earlier_artifact(made):
    run = begin(FIRST)
    run.path("model/numbers.json").write_text("half")
    run.record("toy", {"half": 1})
    run.record("toy", pd.DataFrame({"x": []}))
    assert (made / "model/numbers.json").read_text() == "[1, 2]"
    assert not stage.stale(FIRST, Run.checked("smoke"))


def test_results_join_the_others_when_the_stage_is_finished(made):
    shared = SMOKE.results
    run = begin(SECOND)
    assert run.results != shared
    run.record("curves", pd.DataFrame({"x": [1]}))
    (run.results / "figures").mkdir()
    (run.results / "figures/curves.png").write_bytes(b"png")
    assert not (shared / "curves.csv").exists()
    run.finish()
    assert run.results == shared
    found = sorted(str(p.relative_to(shared)) for p in shared.rglob("*") if p.is_file())
    assert found == ["curves.csv", "figures/curves.png", "toy.csv"]
    assert stage.partials(SECOND, SMOKE) == []


@pytest.mark.training
def test_a_killed_run_leaves_the_earlier_artifact_and_is_swept(made):
    script = (
        "import os\nfrom r4t_utils.run.stage import begin\n"
        f"run = begin('{FIRST}', profile='smoke', dataset='sample')\n"
        "run.path('model/numbers.json').write_text('half')\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=paths.ROOT)
    assert done.returncode == -9
    assert len(stage.partials(FIRST, SMOKE)) == 2
    assert not stage.stale(FIRST, Run.checked("smoke"))
    begin(FIRST)
    assert {p.name for p in stage.partials(FIRST, SMOKE)} == {f".{FIRST}.{os.getpid()}.partial"}


def test_checkpoints_outlive_a_killed_run_and_are_those_of_its_settings_alone(folders):
    kept = begin(FIRST).checkpoints("oar")
    kept.mkdir(parents=True)
    (kept / "checkpoint-8").write_text("weights")
    assert begin(FIRST).checkpoints("oar") == kept and (kept / "checkpoint-8").exists()
    assert begin(FIRST).checkpoints("wscr").parent == kept.parent
    for other in ({"seed": 1}, {"overrides": "folm.k=4"}):
        assert begin(FIRST, **other).checkpoints("oar").parent.name != kept.parent.name
    of_a_section = begin(FIRST).checkpoints("oar", "corpus")
    assert begin(FIRST, overrides="folm.k=4").checkpoints("oar", "corpus") == of_a_section != kept
    assert begin(FIRST, seed=1).checkpoints("oar", "corpus") != of_a_section
    work = begin(FIRST)
    work.path("numbers.json").write_text("[1]")
    work.finish()
    assert not kept.parent.exists() and not any(folders.rglob("*checkpoint*"))


def test_a_publication_cut_short_is_restored(made):
    made.rename(files.replaced(made))
    assert not stage.problem(FIRST, Run.checked("smoke"))
    assert made.is_dir() and not files.replaced(made).exists()


def test_a_stage_reads_only_what_it_needs(made):
    with pytest.raises(ArtifactError, match="does not read '03_pair_synthesis'"):
        begin(SECOND).input("03_pair_synthesis")


@pytest.mark.parametrize("name", ["../escape.json", "/etc/passwd", "."])
def test_a_stage_writes_only_into_its_folder(folders, name):
    with pytest.raises(ArtifactError, match="plain relative name"):
        begin(FIRST).path(name)


def test_stale_tells_why(made, folders):
    run = Run.checked("smoke")
    notebook = folders / "notebooks" / f"{FIRST}.ipynb"
    os.utime(notebook, (1, 1))
    assert stage.stale(FIRST, run) == ""  # a timestamp is no reason
    text = notebook.read_text()
    notebook.write_text(text.replace("range(3)", "range(4)"))
    assert "code" in stage.stale(FIRST, run)
    notebook.write_text(text.replace("stage.record(", "# a comment\\nstage.record("))
    assert stage.stale(FIRST, run) == ""
    result = SMOKE.results / "toy.csv"
    result.write_text("x\n")
    assert "toy.csv" in stage.stale(FIRST, run)
    assert "encoder.epochs" in stage.stale(FIRST, Run.checked("smoke", overrides="encoder.epochs=5"))


def test_changed_data_makes_the_first_stage_stale(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("r4t_utils.run.run.sources.label", lambda *_: "polyvore", raising=False)
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.json").write_text("[]")
    make(FIRST, dataset="polyvore", data_dir=str(data))
    run = Run.checked("smoke", "polyvore", str(data))
    assert stage.stale(FIRST, run) == ""
    (data / "train.json").write_text("[1]")
    assert stage.stale(FIRST, run) == "the data folder has changed"


def test_code_hash_follows_imports_and_data_files(tmp_path, monkeypatch):
    package = tmp_path / "r4t_utils"
    (package / "sub").mkdir(parents=True)
    (package / "machine").mkdir()
    (package / "__init__.py").write_text("")
    (package / "machine" / "progress.py").write_text("size = 1")
    (package / "one.py").write_text("from r4t_utils.sub import two")
    (package / "sub/__init__.py").write_text("")
    (package / "sub/two.py").write_text(
        "def f():\n    from r4t_utils.three import g\n    return g, 'words.yaml numbers.json'"
    )
    (package / "three.py").write_text("g = 1")
    (package / "other.py").write_text("h = 1")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    notebook = tmp_path / "toy.ipynb"
    notebook.write_text(
        json.dumps(
            toys.notebook(
                [
                    toys.code(
                        "a", "%matplotlib inline\nfrom r4t_utils import one\nfrom r4t_utils.machine import progress"
                    )
                ]
            )
        )
    )
    first = code_hash(notebook), module_hash("r4t_utils.one")
    for name, text, changes in [
        ("other.py", "h = 2", False),
        ("machine/progress.py", "size = 2", False),
        ("three.py", "g = 1  # why", False),
        ("three.py", "g = 2", True),
        ("three.py", '"""Why."""\ng = 2', False),
        ("sub/words.yaml", "a: 1", True),
        ("sub/unread.yaml", "a: 1", False),
        ("sub/numbers.json", "{}", True),
        ("sub/unread.json", "{}", False),
        ("__init__.py", "x = 1", True),
    ]:
        (package / name).write_text(text)
        now = code_hash(notebook), module_hash("r4t_utils.one")
        assert [a != b for a, b in zip(now, first)] == [changes, changes], name
        first = now


def test_code_hashes_alike_in_a_python_whose_syntax_trees_have_more_fields():
    old, new = (ast.parse("def f(x=None):\n    return [x]") for _ in range(2))
    for node in ast.walk(new):
        if isinstance(node, ast.FunctionDef):
            node._fields, node.type_params = (*node._fields, "type_params"), []  # as 3.12 has it
    assert _shape(old) == _shape(new) != _shape(ast.parse("def f(x=None):\n    return x"))


@pytest.mark.skipif(shutil.which("git") is None, reason="git is missing")
def test_a_run_s_own_results_leave_the_recorded_commit_clean(tmp_path, monkeypatch):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        return subprocess.check_output(["git", "-C", str(tmp_path), *who, *words], text=True)

    (tmp_path / "results/cpu").mkdir(parents=True)
    for name in ("code.py", "results/cpu/claims.json"):
        (tmp_path / name).write_text("1")
    for words in (["init"], ["add", "."], ["commit", "-m", "first"]):
        git(*words)
    head = git("rev-parse", "HEAD").strip()
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    assert manifest.provenance()["commit"] == head
    (tmp_path / "results/cpu/claims.json").write_text("2")
    assert manifest.provenance()["commit"] == head
    (tmp_path / "code.py").write_text("2")
    assert manifest.provenance()["commit"] == head + "+"


def test_a_folder_of_artifacts_may_be_a_link_and_a_record_has_a_plain_name(folders):
    elsewhere = folders / "a larger disk"
    elsewhere.mkdir()
    (folders / "artifacts").mkdir(exist_ok=True)
    (folders / "artifacts" / "smoke").symlink_to(elsewhere)
    run = begin(FIRST)
    run.path("x.txt").write_text("there")
    assert elsewhere in run.path("x.txt").parents
    with pytest.raises(ArtifactError, match="leads out of the stage's folder"):
        run.path("../../x.txt")
    run.record("v1.5", {"x": 1})
    assert (run.results / "v1.5.json").is_file()
    with pytest.raises(ArtifactError, match="name='sub/x' must be that of a file in the folder"):
        run.record("sub/x", {"x": 1})


def test_records_are_strict_json_and_written_at_one_stroke(folders, monkeypatch):
    run = begin(FIRST)
    run.record("claims", [{"x": np.float32(0.5), "y": np.arange(2), "z": float("nan"), "w": float("inf")}])
    path = run.results / "claims.json"
    assert json.loads(path.read_text()) == [{"x": 0.5, "y": [0, 1], "z": None, "w": None}]
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError):
        run.record("claims", {"x": 1})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["claims.json"]
    with pytest.raises(TypeError):
        run.record("claims", {"x": object()})
