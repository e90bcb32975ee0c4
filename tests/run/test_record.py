"""Seeds, records and comparisons of runs: what is written, what is refused, and that nothing is left half done."""

import json

import pandas as pd
import pytest
import toys

from r4t_utils.run import blocks, compare, files, manifest, notebooks, paths, pipeline, record, seeds
from r4t_utils.run.run import Run

SCORED, TIMED = seeds.SCORED, seeds.TIMED
FIRST = "01_data_curation"
ROW = {"id": "C2", "claim": "Best of five wins.", "ours": "+1", "paper": "", "seeds": 1, "alone": "holds"}
ROW |= {"verdict": "undecided", "p_holm": 0.01, "parts": []}
WRITE_CLAIMS = f"""import json
stage.record("claims", json.loads({json.dumps(json.dumps([ROW]))}))
stage.path("scores.parquet").write_text("")
(stage.results / "figures").mkdir()
(stage.results / "figures/a.png").write_bytes(b"png")"""


@pytest.fixture
def ran(folders, monkeypatch):
    """The default run of toy notebooks, one of which records a claim; and how to run it with other parameters."""
    from r4t_utils.run.stage import STAGES, Recipe

    recipes = dict(STAGES)
    for name in reversed(recipes):  # all of them, which puts them back in their order
        monkeypatch.delitem(STAGES, name)
    monkeypatch.setitem(STAGES, FIRST, recipes[FIRST])
    monkeypatch.setitem(STAGES, SCORED, Recipe(recipes[SCORED].reads, (FIRST,)))
    monkeypatch.setattr(pipeline.kernel, "execute", toys.run_in_process)
    toys.save(folders / "notebooks", FIRST, toys.FIRST)
    toys.save(folders / "notebooks", SCORED, WRITE_CLAIMS)
    assert pipeline.main([]) == 0
    return folders


def refused(folders, main, capsys, *arguments):
    """The message of a refusal; nothing on disk may have changed."""
    before = toys.contents(folders)
    capsys.readouterr()
    assert main([*arguments]) == 2
    out, err = capsys.readouterr()
    assert toys.contents(folders) == before and err.startswith("error: ") and err.count("\n") == 1 and not out
    return err


def test_a_run_says_where_its_outputs_are_and_changes_nothing_recorded(ran, capsys):
    assert not any((ran / "results").iterdir()) and not notebooks.was_run(paths.notebook(FIRST))
    assert pipeline.main([]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Nothing to do") and str(Run.checked().results) in out and "make record" in out


def test_record_keeps_tables_figures_manifest_and_the_default_runs_outputs(ran, capsys):
    run = Run.checked()
    (run.results / "stale.csv").write_text("of an earlier version")
    (run.recorded / "figures").mkdir(parents=True)
    (run.recorded / "figures/old.png").write_bytes(b"old")
    edited = json.loads(paths.notebook(FIRST).read_text())
    edited["cells"].insert(0, {"cell_type": "markdown", "id": "new", "metadata": {}, "source": "A word more."})
    paths.notebook(FIRST).write_text(json.dumps(edited))
    assert record.main([]) == 0
    found = sorted(str(p.relative_to(run.recorded)) for p in run.recorded.rglob("*") if p.is_file())
    assert found == [
        "claims.json",
        "figures/a.png",
        "figures/claims.png",
        "figures/claims_short.png",
        "manifest.json",
        "toy.json",
    ]
    assert list(json.loads((run.recorded / "manifest.json").read_text())["stages"]) == [FIRST, SCORED]
    for stage in (FIRST, SCORED):
        assert notebooks.was_run(paths.notebook(stage))
    assert notebooks.read(paths.notebook(FIRST)).cells[0].source == "A word more."
    assert not list(ran.rglob("*.partial")) and not list(ran.rglob("*.replaced"))
    before = toys.contents(ran)
    assert record.main([]) == 0 and toys.contents(ran) == before
    assert pipeline.main([]) == 0 and "Nothing to do" in capsys.readouterr().out  # its stages are as fresh as before


def test_another_run_leaves_the_notebooks_alone(ran):
    before = toys.contents(ran / "notebooks")
    assert pipeline.main(["--seed", "1"]) == 0 and record.main(["--seed", "1"]) == 0
    assert toys.contents(ran / "notebooks") == before and (Run.checked().recorded / "claims.json").is_file()


def test_what_is_not_complete_and_fresh_is_not_recorded(ran, capsys):
    err = refused(ran, record.main, capsys, "--seed", "2")
    assert f"{FIRST} of cpu/sample, seed 2, is not fresh" in err and "make reproduce PROFILE=cpu" in err
    text = paths.notebook(SCORED).read_text()
    paths.notebook(SCORED).write_text(text.replace("b'png'", "b'gif'").replace("import json", "import json, os"))
    assert "its code has changed" in refused(ran, record.main, capsys)
    paths.notebook(SCORED).write_text(text)
    (Run.checked().results / "figures/a.png").unlink()
    assert "a.png is missing" in refused(ran, record.main, capsys)


def test_what_a_killed_recording_left_half_done_is_brought_back(ran):
    assert record.main([]) == 0
    before = toys.contents(ran)
    for place in (paths.notebook(FIRST), Run.checked().recorded):
        place.rename(files.replaced(place))
    assert record.main([]) == 0 and toys.contents(ran) == before


@pytest.mark.parametrize("fails", range(6))  # three places: away with the old, in with the new
def test_a_record_that_fails_on_its_way_changes_nothing(ran, monkeypatch, fails):
    assert record.main([]) == 0
    toys.save(ran / "notebooks", FIRST, toys.FIRST.replace("range(3)", "range(4)"))
    assert pipeline.main([]) == 0
    before, replace, calls = toys.contents(ran), files.os.replace, []

    def fail(source, target):
        if not str(target).endswith(".partial"):
            calls.append(target)
            if len(calls) == fails + 1:
                raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", fail)
    assert record.main([]) == 130 and len(calls) > fails
    assert toys.contents(ran) == before


@pytest.mark.parametrize("text", ["", "0 x", "0 0", "0 00", "-1", "0,1", "1.5", "²"])
def test_bad_seeds_are_one_message(ran, capsys, text):
    err = refused(ran, seeds.main, capsys, f"--seeds={text}")
    assert repr(text) in err and 'SEEDS="0 1 2"' in err


def together(monkeypatch, *numbers):
    """Makes the table over seeds without notebooks 5 and 6."""
    monkeypatch.setattr(seeds, "_scores", lambda run: pd.DataFrame({"seed": [run.seed]}))
    monkeypatch.setattr(pd, "read_csv", lambda path: pd.DataFrame({"seconds": [1.0]}))
    verdicts = "r4t_utils.evaluation.verdicts."
    monkeypatch.setattr(verdicts + "measure_latency", lambda timed, *_: {})
    monkeypatch.setattr(
        verdicts + "judged", lambda scores, *_: [ROW | {"seeds": scores.seed.nunique(), "verdict": "holds"}]
    )
    monkeypatch.setattr(verdicts + "by_method", lambda scores, *_: (scores, scores))
    return seeds.main(["--seeds", " ".join(map(str, numbers))])


def test_seeds_run_what_is_not_fresh_and_write_one_table(ran, monkeypatch, capsys):
    capsys.readouterr()
    assert together(monkeypatch, 0, 1, 2) == 0
    out = capsys.readouterr().out
    assert out.count("Nothing to do") == 1 and out.count(f"{FIRST}: running") == 2  # seed 0 was fresh
    assert "C2 holds: Best of five wins. +1\n" in out and "needs three" not in out
    folder = Run.checked().seeds
    assert sorted(p.name for p in folder.iterdir()) == [
        "claims.json",
        "manifest.json",
        "seeds.csv",
        "seeds_metrics.csv",
    ]
    assert list(seeds.recorded(Run.checked())["seeds"]) == ["0", "1", "2"] and not seeds.outdated(Run.checked(seed=2))
    assert "leaves out seed 3" in seeds.outdated(Run.checked(seed=3))
    assert record.main([]) == 0
    row = json.loads((Run.checked().recorded / "claims.json").read_text())[0]
    assert (row["seeds"], row["verdict"]) == (3, "holds")
    told = json.loads((Run.checked().recorded / manifest.FILE).read_text())
    assert list(told["seeds"]) == list(told["machines"]) == ["0", "1", "2"]
    assert all(machine.keys() == {"cpu", "gpu", "torch"} for machine in told["machines"].values())
    assert together(monkeypatch, 0, 1) == 0
    assert "A claim needs three seeds" in capsys.readouterr().out


def test_the_recorded_notebook_has_the_verdicts_over_seeds_where_it_marks_a_place(ran, monkeypatch):
    notebook = notebooks.read(paths.notebook(SCORED))
    source = "Over seeds:\n\n<!-- seeds -->\n\n<!-- end seeds -->\n\nSo it is."
    prose = {"cell_type": "markdown", "id": "over", "metadata": {}, "source": source}
    paths.notebook(SCORED).write_text(json.dumps({**notebook, "cells": [*notebook.cells, prose]}))

    def told():
        assert record.main([]) == 0
        return notebooks.read(paths.notebook(SCORED)).cells[-1].source

    assert told().splitlines()[3] == "One seed is recorded, which decides no claim." and "So it is." in told()
    assert together(monkeypatch, 0, 1, 2) == 0
    lines = told().splitlines()
    assert lines[3].startswith("![The claims: ") and lines[3].endswith("results/cpu/sample/figures/claims.png)")
    assert lines[5] == "| id | claim | verdict |" and lines[-1] == "So it is."
    assert lines[7] == "| C2 | Best of five wins. | **holds** |"
    assert lines[9].endswith("of seeds 0, 1, 2</summary>") and lines[13] == "| C2 | +1 |"


def test_a_table_over_seeds_that_have_changed_is_not_recorded(ran, monkeypatch, capsys):
    assert together(monkeypatch, 0, 1) == 0
    toys.save(ran / "notebooks", FIRST, toys.FIRST.replace("range(3)", "range(4)"))
    assert pipeline.main([]) == 0
    err = refused(ran, record.main, capsys)
    assert "has changed since" in err and "make seeds" in err and "SEEDS='0 1'" in err
    assert together(monkeypatch, 0, 1) == 0 and record.main([]) == 0


def test_a_table_over_seeds_knows_results_and_the_code_that_judges(ran, monkeypatch):
    """A stage may change what it shows and leave its files as they were, and so may the code of the verdicts."""
    assert together(monkeypatch, 0, 1) == 0 and not seeds.outdated(Run.checked())
    with monkeypatch.context() as changed:
        changed.setattr(seeds, "module_hash", lambda name: "other code")
        assert seeds.outdated(Run.checked()) == "the code that judges the claims has changed"
    toys.save(ran / "notebooks", SCORED, WRITE_CLAIMS.replace("+1", "+2"))
    before = manifest.read(Run.checked().folder(SCORED))["digest"]
    assert pipeline.main([]) == 0 and manifest.read(Run.checked().folder(SCORED))["digest"] == before
    assert seeds.outdated(Run.checked()) == f"{SCORED} of seed 0 has changed since"


def test_outputs_of_another_run_are_not_recorded(ran, capsys):
    """A stage that was run by hand since leaves an executed notebook that shows something else."""
    toys.save(ran / "notebooks", SCORED, WRITE_CLAIMS.replace("+1", "+2"))
    shown = Run.checked().executed(SCORED).read_bytes()
    toys.run_in_process(SCORED, Run.checked())
    Run.checked().executed(SCORED).write_bytes(shown)
    assert "its executed notebook is of another run" in refused(ran, record.main, capsys)
    assert pipeline.main([]) == 0 and record.main([]) == 0


def test_compare_says_what_to_run_first(ran, capsys):
    err = refused(ran, compare.main, capsys)
    assert "no claims" in err and "make reproduce" in err and "make record" in err
    assert record.main([]) == 0
    assert "seed 5, is not fresh" in refused(ran, compare.main, capsys, "--seed", "5")


def test_compare_has_a_line_per_claim(ran, capsys):
    assert record.main([]) == 0
    assert compare.main([]) == 0
    assert "C2 agrees: holds (1 seeds: +1); recorded: holds (1 seeds: +1)\n1 of 1" in capsys.readouterr().out
    path = Run.checked().recorded / "claims.json"
    path.write_text(path.read_text().replace('"holds"', '"undecided"'))
    assert compare.main([]) == 1
    assert "C2 differs: holds (1 seeds: +1); recorded: undecided (" in capsys.readouterr().out


def test_a_claim_that_only_one_side_has_differs_and_untested_ones_do_not_count():
    rows = [ROW, ROW | {"id": "C7", "alone": "not yet tested"}]
    assert [agrees for agrees, _ in compare.lines(rows, rows)] == [True]
    ((agrees, line),) = compare.lines(rows, rows[1:])
    assert not agrees and "recorded: not there" in line
    tested = ROW | {"id": "C7", "alone": "holds"}
    assert len(compare.lines(rows, [ROW, tested])) == 1 and len(compare.lines([ROW, tested], [ROW, tested])) == 2


def test_what_claims_say_without_the_querys_own_list_is_compared_where_both_sides_have_it():
    twice = ROW | {"without_query": ROW | {"alone": "does not hold"}}
    assert [agrees for agrees, _ in compare.lines([twice], [ROW])] == [True]
    (first, _), (second, line) = compare.lines([twice], [ROW | {"without_query": ROW}])
    assert first and not second and line.startswith(f"{ROW['id']} without the query's own list differs: does not hold")


def test_compare_takes_in_the_claims_of_ablations(ran, monkeypatch, capsys):
    assert record.main([]) == 0
    for folder in (Run.checked().ablations, Run.checked().recorded / "ablations"):
        files.write_text(folder / "claims.json", files.to_json([ROW | {"id": "C7"}]))
    monkeypatch.setattr(compare.ablations, "outdated", lambda run: "")
    assert compare.main([]) == 0
    assert "C7 agrees: holds" in capsys.readouterr().out
    monkeypatch.setattr(compare.ablations, "outdated", lambda run: "it was not finished")
    assert compare.main([]) == 1


def test_a_trial_shows_its_figure_and_each_difference_it_has(tmp_path):
    record = tmp_path / "cpu" / "sample"
    (tmp_path / "trials").mkdir()
    picture = blocks.trial(record, record, "students")
    assert len(picture) == 1 and picture[0].endswith("trials/figures/students.png)")
    found = {"what": ["RL", "RL", "noise", "noise"], "way": ["merged", "alone"] * 2, "mean": [1.04, -2, 0, 3]}
    table = pd.DataFrame(found | {"low": [-1, -3.26, 0, 2], "high": [2, -1, 0, 4]})
    table.to_csv(tmp_path / "trials" / "students_differences.csv", index=False)
    assert blocks.trial(record, record, "students") == [
        *picture,
        "",
        "| quality that is gained by | merged | alone |",
        "|---|---|---|",
        "| RL | +1.0 [-1.0, +2.0] | -2.0 [-3.3, -1.0] |",
        "| noise | +0.0 [+0.0, +0.0] | +3.0 [+2.0, +4.0] |",
    ]
