"""`make ablations` on toy notebooks and made-up looks at policies: what is made, kept, gathered, recorded and told."""

import json
import re

import pandas as pd
import pytest
import toys

from r4t_utils.evaluation import claims, drawing, trials, variants
from r4t_utils.run import ablations, notebooks, paths, pipeline, record
from r4t_utils.run.run import Run

TUNED, DATA = "02_rl_fanout", "01_data_curation"
MARKED = "What does each part do?\n\n<!-- ablations -->\nof an earlier run\n<!-- end ablations -->\n\nSo it is."
MEASURES = ("ground", "div", "align", "formed", "distinct", "contents", "copies", "elsewhere", "outside", "quality")


def made_up(database, zero_shot, settings, seed, folder):
    """Every policy starts at 0.5; one that is paid for groundedness alone collapses."""
    assert (zero_shot is None) == (settings.folm.layers == 2 and settings.folm.hidden == 64)
    end = 0.1 if settings.rl.lambda_d == 0 else 0.6
    rows = [(step, q, end if step else 0.5) for step in (0, settings.rl.steps) for q in range(6)]
    seen = pd.DataFrame(rows, columns=["step", "query", "value"]).assign(asked="boho", fanout="one | two")
    seen["group"] = seen["query"]
    return seen.assign(**dict.fromkeys((*MEASURES, "merged"), seen["value"])).drop(columns="value")


def drawn(name, folder):
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "figures" / f"{name}.png").write_bytes(b"png")


def best(database, policies, settings, seed):
    rows = [(policy, n, 60 * n, 0.1 * n, q) for policy in policies for n in (1, 2) for q in range(4)]
    found = pd.DataFrame(rows, columns=["policy", "n", "tokens", "reward", "query"])
    return found.assign(quality=found["reward"], merged=found["reward"], group=found["query"])


@pytest.fixture
def toy_trials(toy, monkeypatch):
    """Toy notebooks, the second with a place for the table, and trials that take no time; counts those made."""
    prose = {"cell_type": "markdown", "id": "told", "metadata": {}, "source": MARKED}
    notebook = json.loads(paths.notebook(TUNED).read_text())
    paths.notebook(TUNED).write_text(json.dumps(notebook | {"cells": [*notebook["cells"], prose]}))
    monkeypatch.setattr(pipeline.kernel, "execute", toys.run_in_process)
    monkeypatch.setattr("r4t_utils.space.database.Database.load", lambda folder: None)
    monkeypatch.setattr(trials, "best_of", best)
    monkeypatch.setattr(drawing, "draw", drawn)  # as its own tests do, slowly
    monkeypatch.setattr(ablations, "side_by_side", lambda work, labels, at_once: [work(label) for label in labels])
    made = []
    monkeypatch.setattr(trials, "trial", lambda *given: made.append(given[3]) or made_up(*given))
    return made


def run(*arguments):
    return ablations.main([*arguments])


def test_trials_are_made_once_seed_by_seed_and_gathered(toy_trials, capsys):
    assert run("--seeds", "0 1") == 0
    each = len(variants.VARIANTS)
    assert toy_trials == [0] * each + [1] * each
    folder = Run.checked().ablations
    told = {path.name: path.read_bytes() for path in folder.glob("*.csv")}
    assert sorted(told) == ["ablations.csv", "ablations_said.csv", "best_of.csv"]
    assert sorted(p.name for p in (folder / "figures").iterdir()) == ["ablations.png", "best_of.png"]
    rows = {row["id"]: row for row in json.loads((folder / "claims.json").read_text())}
    assert set(rows) == {"C7", "C8"} and "lost by groundedness alone +40.0" in rows["C7"]["ours"]
    assert "C7 undecided:" in capsys.readouterr().out  # two seeds
    assert run("--seeds", "0 1") == 0 and len(toy_trials) == 2 * each
    assert "of which 0 are to be made" in capsys.readouterr().out
    assert told == {path.name: path.read_bytes() for path in folder.glob("*.csv")}
    next(folder.glob("trials/*.parquet")).unlink()
    assert run("--seeds", "0 1") == 0
    assert "of which 1 are to be made" in capsys.readouterr().out
    assert not list(folder.rglob("*.partial"))


def test_a_trial_s_name_is_all_that_it_rests_on(toy_trials, monkeypatch):
    assert run("--seeds", "0") == 0
    first = ablations.trials([Run.checked()])
    assert set(first) == set(ablations.trials([Run.checked()])) and not ablations.outdated(Run.checked())
    assert first.keys().isdisjoint(ablations.trials([Run.checked(seed=1)]))
    assert first.keys().isdisjoint(ablations.trials([Run.checked(overrides="rl.clip=0.3")]))
    with monkeypatch.context() as changed:
        changed.setattr(ablations, "module_hash", lambda name: "other code")
        assert first.keys().isdisjoint(ablations.trials([Run.checked()]))
        assert "its code or the runs that it rests on have changed" in ablations.outdated(Run.checked())
    longest = {name: given.settings.rl.steps for names, given in first.values() for name in names}
    assert longest[claims.GROUNDED] == variants.STEPS < longest["2:2.5:5.5, guarded, three times the samples"]
    smoke = {given.settings.rl.steps for _, given in ablations.trials([Run.checked("smoke")]).values()}
    assert max(smoke) <= 2 * Run.checked("smoke").settings.rl.steps < variants.STEPS


@pytest.mark.parametrize("profile", ["smoke", "cpu", "lm", "gpu", "paper"])
def test_no_profile_loses_a_variant(folders, profile):
    """Variants that a profile makes the same are one trial, whose numbers stand for both."""
    named = [name for names, _ in ablations.trials([Run.checked(profile)]).values() for name in names]
    assert sorted(named) == sorted([*variants.VARIANTS, ablations.BEST_OF])


def test_variants_that_are_the_same_are_made_once_and_told_of_both(toy_trials, monkeypatch):
    monkeypatch.setitem(variants.VARIANTS, "twin", variants.VARIANTS[claims.EVEN])
    assert run("--seeds", "0") == 0
    assert len(toy_trials) == len(variants.VARIANTS) - 1
    told = (Run.checked().ablations / "ablations.csv").read_text()
    assert ",twin,0,0," in told and f",{claims.EVEN},0,0," in told


def test_they_are_recorded_without_their_trials_and_told_where_a_notebook_marks_a_place(toy_trials, capsys):
    assert pipeline.main([]) == 0 and record.main([]) == 0
    assert "Not recorded here: `make ablations`" in notebooks.read(paths.notebook(TUNED)).cells[-1].source
    assert run("--seeds", "0 1") == 0 and record.main([]) == 0
    folder = Run.checked().recorded / "ablations"
    assert (folder / "claims.json").is_file() and not (folder / "trials").exists()

    def told():
        return notebooks.read(paths.notebook(TUNED)).cells[-1].source

    assert told().startswith("What does each part do?") and told().endswith("So it is.")
    assert "of an earlier run" not in told() and "| id | claim | verdict |" in told()
    table = [line.split(" | ")[0:3] for line in told().splitlines() if line.startswith("| ")]
    assert ["| zero-shot", "50.0", "50.0"] in table and [f"| {claims.GROUNDED}", "10.0", "10.0"] in table
    assert f"- *{claims.ALL_THREE}*: one; two" in told()
    shown = re.findall(r"\]\((.+?)\)", told())
    assert len(shown) == 2 and all((paths.notebooks() / place).is_file() for place in shown), shown
    # A later run of the same notebooks that has none keeps what was recorded.
    kept = toys.contents(folder)
    for path in sorted(Run.checked().ablations.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    Run.checked().ablations.rmdir()
    assert record.main([]) == 0 and toys.contents(folder) == kept


def test_ablations_of_other_code_are_not_recorded(toy_trials, monkeypatch, capsys):
    assert run("--seeds", "0") == 0
    toys.save(paths.notebook(DATA).parent, DATA, toys.FIRST.replace("range(3)", "range(4)"))
    assert pipeline.main([]) == 0
    before = toys.contents(Run.checked().recorded)
    capsys.readouterr()
    assert record.main([]) == 2
    err = capsys.readouterr().err
    assert "make ablations" in err and "or remove the folder" in err and toys.contents(Run.checked().recorded) == before
    (Run.checked().ablations / "manifest.json").unlink()
    assert ablations.outdated(Run.checked()) == "it was not finished"


def test_bad_seeds_are_one_message(toy_trials, capsys):
    assert run("--seeds", "0 0") == 2
    assert capsys.readouterr().err.startswith("error: ") and not toy_trials
