"""Figures from made-up results files: drawn, small, repeatable, with alt text that reaches the notebook."""

import io
import json

import matplotlib.colors as colours
import nbformat
import numpy as np
import pandas as pd
import PIL.Image
import pytest
from IPython.core.formatters import DisplayFormatter
from nbconvert import HTMLExporter

from r4t_utils.evaluation import claims, drawing, example_figures, figures, ladder, looks

STEPS = range(0, 100, 10)
SAID = "holds", "does not hold", "undecided"


def judged():
    """Made-up verdicts of every claim, as `verdicts.judged` gives them."""
    without = {claim.id: said(i + 1, claim) for i, claim in enumerate(claims.WITHOUT_QUERY)}
    return [said(i, claim) | {"without_query": without.get(claim.id)} for i, claim in enumerate(claims.CLAIMS)]


def said(i, claim):
    tests = [{"test": test.name, "threshold": test.threshold, "decides": test.decides} for test in claim.tests]
    parts = [test | {"mean": 0.03 + i, "low": i, "high": 0.05 + i} for test in tests]
    told = {"id": claim.id, "claim": claim.text, "paper": "", "ours": "", "seeds": 3, "parts": parts}
    return told | {"alone": SAID[i % 3], "verdict": SAID[i % 3]}


def tables():
    """Small results files in the recorded columns; WSCR has no reward terms, as in real runs."""
    wave = {task: 0.5 + 0.1 * np.sin(np.arange(10) + i) for i, task in enumerate(looks.TASKS)}
    per_step = [(task, step, wave[task][i]) for task in looks.TASKS for i, step in enumerate(STEPS)]
    metrics = [
        (task, method, metric, 20.0 + 9 * i + j)
        for task, names in figures.RESULT_PANELS.items()
        for i, method in enumerate(claims.METHODS)
        for j, metric in enumerate(names)
    ]
    seconds = [
        (path, part, batch, batch * cost)
        for path, cost in ((claims.FOLM, 0.2), (claims.DIFFUSION, 0.01))
        for part in ("fan-out", "with search")
        for batch in (1, 2, 4, 8)
    ]
    return {
        "ladder.csv": pd.DataFrame(
            [
                {"rung": rung, "n": 12 if i == 3 else 240, "quality": 9.0 * i, "low": 9.0 * i - 2, "high": 9.0 * i + 2}
                | {"reward": 60.0 - i}
                for i, rung in enumerate(ladder.RUNGS)
            ]
        ),
        "losses.csv": pd.DataFrame(
            [
                {"lost_by": a, "better": b, "worse": w, "mean": 1.0, "low": 0.0, "high": 3.0}
                for a, b, w, _ in ladder.STEPS
            ]
        ),
        "ablations.csv": pd.DataFrame(
            [
                {"questions": "terms, weights" if v == "6:2:2" else "terms", "variant": v, "seed": seed, "step": step}
                | dict.fromkeys(("ground", "div", "align", "contents", "quality"), wave["oar"][i] + seed / 10)
                for v in ("groundedness alone", "6:2:2")
                for seed in range(2)
                for i, step in enumerate(STEPS)
            ]
        ),
        "best_of.csv": pd.DataFrame(
            [
                {"policy": policy, "seed": seed, "n": n, "tokens": 60.0 * n}
                | dict.fromkeys(("reward", "quality", "merged"), 0.3 + n / 100 + seed / 50)
                for policy in (claims.ZERO_SHOT, claims.FOLM)
                for seed in range(2)
                for n in (1, 2, 4)
            ]
        ),
        "encoder_prefixes.csv": pd.DataFrame(
            [
                {"prefix": p, "query": q, "hit_at_10": p / 200, "low": p / 200 - 0.05, "high": p / 200 + 0.05}
                for q in ("item name", "outfit title")
                for p in (32, 64, 128)
            ]
        ),
        "rl_curves.csv": pd.DataFrame(
            [
                {
                    "task": t,
                    "step": s,
                    "reward": w,
                    "reward_std": 0.1,
                    "entropy": 2 - w,
                    "clipped": 0.0,
                    "tokens": 60,
                    "well_formed": 0.99,
                    **dict.fromkeys(("ground", "div", "align"), w if t == "oar" else np.nan),
                }
                for t, s, w in per_step
            ]
        ),
        "diffusion_loss.csv": pd.DataFrame([{"task": t, "step": s, "loss": w} for t, s, w in per_step]),
        "diffusion_loss_by_sigma.csv": pd.DataFrame(
            [{"task": t, "step": s, "sigma": x, "loss": w + x} for t, s, w in per_step for x in (1e-4, 1e-2, 1, 80)]
        ),
        "diffusion_progress.csv": pd.DataFrame(
            [
                {"task": t, "step": s, "distance": w, "vendi": 3 + w, "data_distance": 0.4, "data_vendi": 3.3}
                for t, s, w in per_step
            ]
        ),
        "metrics.csv": pd.DataFrame(
            [
                {
                    "task": t,
                    "method": m,
                    "metric": x,
                    "mean": v,
                    "low": v - 2,
                    "high": v + 2,
                    "n": 240,
                    "paper": claims.paper_value(t, m, x),
                }
                for t, m, x, v in metrics
            ]
        ),
        "latency.csv": pd.DataFrame(
            [
                {"path": p, "part": part, "batch": b, "repeat": i, "seconds": v * (0.9 + i / 30), "nfe": 16}
                for p, part, b, v in [*seconds, ("R4T-Diffusion", "paper's sampler", 8, 5.0)]
                for i in range(7)
            ]
        ),
        **single_examples(),
    }


def single_examples():
    """What `showcase` writes, made up: outfits of two pieces for one query, texts for another."""
    rng = np.random.default_rng(0)
    spots = rng.normal(size=(40, 2))
    kinds = ["content"] * 28 + ["query"] + ["set 1"] * 6 + ["set 2"] * 5
    plane = pd.DataFrame(spots, columns=["x", "y"])
    levels = [-1.0] * 29 + [7.0] * 3 + [0.5] * 3 + [7.0] * 2 + [0.5] * 3
    steps = ["content"] * 28 + ["query"] + ["noisy"] * 6 + ["denoised"] * 5
    of_map = ["contents"] * 28 + [claims.NO_FANOUT] * 6 + [claims.FOLM] * 6
    rows = [
        {"rule": rule, "query": f"query {rule}", "gain": 5.0, "method": method, "view": view, "rank": rank}
        | {"asked": "a red gown", "title": "red gown and hat", "on_topic": rank % 2, "pieces": pieces}
        for rule, pieces in (("best", ""), ("median", "gown, red, plain; hat, navy, striped"))
        for method in (claims.ZERO_SHOT, claims.FOLM)
        for view in ("set", "sub-queries")
        for rank in range(1, 11)
    ]
    scored = {"measure": "quality", "above_noise": 0.5, "above_low": -0.5, "above_high": 1.5}
    names = "noise", "a student of other targets that has a long name", "the retriever as it is"
    trials = pd.DataFrame([{"row": name, "way": way} | scored for name in names for way in ("merged", "alone")])
    said = {"query": "a query", "ground": 0.1, "div": 0.2, "align": 0.3, "sub_queries": "a; b; c"}
    return {
        "few_evaluations.csv": pd.DataFrame(
            [
                {"row": row, "sampler": sampler, "evaluations": n, "measure": measure}
                | {"mean": 0.1 * n, "low": 0.1 * n - 0.1, "high": 0.1 * n + 0.1}
                for row, sampler, n in ((claims.NOISE, "", 0), (claims.FOLM, "", 0), ("a", "dpm", 1), ("b", "dpm", 4))
                for measure in ("quality", "alignment", "subtopic recall", "different", "distance", "energy")
            ]
        ),
        "generalisation.csv": trials,
        "students.csv": trials,
        "generalisation_curve.csv": pd.DataFrame(
            [
                {"row": row, "way": way, "seed": seed, "step": step, "quality": 50 + step / 100 + seed}
                for row in ("as it is", "longer")
                for way in ("merged", "alone")
                for seed in (0, 1)
                for step in (100, 200)
            ]
        ),
        "group.csv": pd.DataFrame([said | {"reward": 0.9 - i / 10, "advantage": 1.5 - i} for i in range(4)]),
        "pair.csv": plane.assign(kind=kinds, finds="a content"),
        "denoising.csv": plane.assign(kind=steps, sigma=levels),
        "map.csv": plane.assign(method=of_map, on_topic=[0, 1] * 20, subtopic=[-1, 2] * 20),
        "examples.csv": pd.DataFrame(rows),
    }


@pytest.fixture
def folder(tmp_path):
    for name, frame in tables().items():
        frame.to_csv(tmp_path / name, index=False)
    (tmp_path / "claims.json").write_text(json.dumps(judged()))
    return tmp_path


@pytest.mark.parametrize("name", sorted(drawing.FIGURES))
def test_each_figure_is_small_repeatable_and_described(name, folder):
    first = drawing.draw(name, folder).data
    saved = (folder / "figures" / f"{name}.png").read_bytes()
    assert saved == first == drawing.draw(name, folder).data
    assert len(first) < 160_000
    image = PIL.Image.open(io.BytesIO(first)).convert("RGB")
    assert image.width == pytest.approx(2 * drawing.WIDTH, abs=2)
    # A grid and text alone have few colourful pixels; data in the palette has more.
    saturation = np.ptp(np.asarray(image, int), axis=2)
    assert (saturation > 60).sum() > 300
    assert edge(first) > 250
    assert len(drawing.FIGURES[name].alt) > 60
    assert not list((folder / "figures").glob("*.partial"))


def test_alt_text_reaches_the_notebook_and_its_html(folder):
    data, metadata = DisplayFormatter().format(drawing.draw("latency", folder))
    alt = drawing.FIGURES["latency"].alt
    assert metadata["image/png"]["alt"] == data["text/plain"] == alt
    output = nbformat.v4.new_output("display_data", data, metadata=metadata)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[output])])
    html, _ = HTMLExporter(template_name="classic").from_notebook_node(notebook)
    assert f'alt="{alt}"' in html


def test_results_puts_every_score_where_it_belongs():
    frame = tables()["metrics.csv"]
    figure = drawing.FIGURES["results"].function(frame)
    panels = {ax.get_title(): ax for ax in figure.axes if ax.get_title()}
    assert list(panels) == [
        "OAR: quality",
        "OAR: alignment",
        "OAR: diversity",
        "WSCR: recall",
        "WSCR: hit",
        "WSCR: Vendi",
    ]
    shown = [method for method in looks.ROWS if method != claims.PRINTED]
    assert [t.get_text() for t in panels["WSCR: recall"].get_yticklabels()] == shown
    drawn = {}
    for container in panels["WSCR: hit"].containers:
        line = container.lines[0]
        y = int(line.get_ydata()[0])
        drawn[shown[y]] = line.get_xdata()[0]
        assert colours.same_color(line.get_color(), looks.COLOURS[looks.ROWS[y]])
        interval = container.lines[2][0].get_segments()[0][:, 0]
        assert interval == pytest.approx([line.get_xdata()[0] - 2, line.get_xdata()[0] + 2])
    hit = frame[frame.metric == "hit"].set_index("method")["mean"]
    assert drawn == hit.drop(claims.PRINTED).to_dict()
    plain = [line.get_xdata()[0] for line in panels["WSCR: hit"].lines if line.get_linestyle() == "--"]
    assert plain == [hit["No fan-out"]]
    assert sorted(looks.ROWS) == sorted(claims.METHODS)


def test_results_show_pale_what_a_method_finds_by_itself():
    frame = tables()["metrics.csv"]
    own = frame.loc[(frame.method == claims.FOLM) & (frame.metric == "recall")]
    alone = own.assign(metric="recall" + claims.WITHOUT, mean=7.0, low=6.0, high=9.0)
    figure = drawing.FIGURES["results"].function(pd.concat([frame, alone]))
    (panel,) = [ax for ax in figure.axes if ax.get_title() == "WSCR: recall"]
    pale = [bars.lines[0] for bars in panel.containers if bars.lines[0].get_alpha()]
    assert [line.get_xdata()[0] for line in pale] == [7.0]
    row = [label.get_text() for label in panel.get_yticklabels()].index(claims.FOLM)
    assert row < pale[0].get_ydata()[0] < row + 0.5


def test_claims_show_what_decides_them_with_its_verdict_and_the_papers_numbers():
    figure = drawing.FIGURES["claims"].function(judged())
    shown = [label.get_text().split()[0] for ax in figure.axes for label in ax.get_yticklabels()]
    deciding = [(claim, test) for claim in claims.CLAIMS for test in claim.tests if test.decides]
    assert sorted(shown) == sorted(claim.id for claim, _ in deciding)
    below = figure.axes[1]
    assert [label.get_text() for label in below.get_yticklabels()] == [
        f"{claim.id}  {test.label or test.score}" for claim, test in deciding if test.kind == "ratio"
    ]
    drawn = [(bars.lines[0].get_marker(), bars.lines[0].get_markersize()) for bars in below.containers]
    assert drawn[:2] == [("o", 5), ("X", 3)]  # C4 holds; by itself, in its second look, it does not
    assert [marker for marker, size in drawn if size == 5] == ["o", "o", "X", "o"]  # C4, C4, C5, C9
    assert len(drawn) == 7  # C9 has no second look
    papers = [line for line in below.lines if line.get_marker() == "D"]
    np.testing.assert_allclose(papers[2].get_xdata(), [2.82, 2.07], atol=0.01)
    np.testing.assert_allclose(papers[3].get_xdata(), [12, 20])


def test_latency_ratio_is_policy_over_diffusion():
    figure = drawing.FIGURES["latency"].function(tables()["latency.csv"])
    ratio = figure.axes[1].lines[0]
    np.testing.assert_allclose(ratio.get_ydata(), 20)
    np.testing.assert_array_equal(ratio.get_xdata(), [1, 2, 4, 8])
    assert "16 NFE" in figure.legends[0].get_texts()[0].get_text()


def test_ablations_show_a_variant_under_every_question_that_it_answers():
    figure = drawing.FIGURES["ablations"].function(tables()["ablations.csv"])
    shown = {part.axes[0].get_ylabel(): part.axes for part in figure.subfigs}
    assert {question: [line.get_label() for line in axes[0].lines] for question, axes in shown.items()} == {
        "terms": ["groundedness alone", "6:2:2"],
        "weights": ["6:2:2"],
    }
    wave = tables()["ablations.csv"].query("variant == '6:2:2' and seed == 0")["ground"]
    np.testing.assert_allclose(shown["weights"][0].lines[0].get_ydata(), 100 * (wave + 0.05))  # the mean of two seeds


def test_figures_draw_what_there_is_of_one_task_and_two_steps():
    """The smallest profile records little; a figure must not need more."""
    for name, entry in drawing.FIGURES.items():
        assert name == entry.function.__name__
        frames = [judged()[:1] if file == "claims.json" else tables()[file] for file in entry.files]
        frames = [f[f.task == "oar"] if "task" in f else f for f in frames]
        frames = [f[f.step <= 10] if "step" in f else f for f in frames]
        assert entry.function(*frames).axes, name


def test_examples_mark_every_result_and_name_every_method():
    """Ten marks a row: of each result, whether it is on topic."""
    frame = tables()["examples.csv"]
    said = [text.get_text() for text in drawing.FIGURES["examples"].function(frame).axes[0].texts]
    assert said.count("✓") == said.count("✗") == 20
    assert said.count(claims.FOLM) == said.count(claims.ZERO_SHOT) == 2
    said = [text.get_text() for text in drawing.FIGURES["hero"].function(frame).axes[0].texts]
    assert said.count("✓") == said.count("✗") == 10 and said.count("a red gown") == 20
    assert said[0] == "“query median”"


def test_a_map_has_a_panel_a_method_with_its_results():
    axes = drawing.FIGURES["on_map"].function(tables()["map.csv"]).axes
    assert [ax.get_title() for ax in axes if ax.get_title()] == [
        f"{method}: 3 on topic, 1 kind" for method in (claims.NO_FANOUT, claims.FOLM)
    ]


def test_the_longest_title_of_a_map_is_not_cut_off(tmp_path):
    answers = pd.DataFrame({"x": 0.0, "y": 0.0, "on_topic": 1, "subtopic": range(10)})
    methods = claims.NO_FANOUT, claims.ZERO_SHOT, claims.FOLM, claims.DIFFUSION, "MMR", claims.MAXIMISER
    frame = tables()["map.csv"].query("method == 'contents'")
    pd.concat([frame, *(answers.assign(method=name) for name in methods)]).to_csv(tmp_path / "map.csv")
    assert edge(drawing.draw("on_map", tmp_path).data) > 250


def edge(png):
    """The darkest grey at the rim of a picture, 0 to 255: what is dark there has been cut off."""
    grey = np.asarray(PIL.Image.open(io.BytesIO(png)).convert("L"))
    return min(side.min() for side in (grey[0], grey[-1], grey[:, 0], grey[:, -1]))


def test_methods_are_told_apart_by_colour_and_by_marker():
    assert set(looks.COLOURS) == set(looks.MARKERS) == set(claims.METHODS)
    assert len(set(looks.COLOURS.values())) == len(set(looks.MARKERS.values())) == 5


def test_bad_input_names_the_value_and_the_rule(tmp_path):
    with pytest.raises(ValueError, match="'result' is unknown; there are .*results"):
        drawing.draw("result", tmp_path)
    with pytest.raises(ValueError, match="diffusion_loss.csv, diffusion_loss_by_sigma.csv"):
        drawing.draw("diffusion_loss", tmp_path)
    for file, figure, field in (("rl_curves", "rl_curves", "reward"), ("metrics", "results", "metric")):
        tables()[f"{file}.csv"].drop(columns=field).to_csv(tmp_path / f"{file}.csv", index=False)
        with pytest.raises(
            ValueError, match=f"figure '{figure}': no field '{field}' in {file}.csv in .*; run its stage"
        ):
            drawing.draw(figure, tmp_path)
    assert not (tmp_path / "figures").exists()


def test_the_command_redraws_what_has_been_recorded(tmp_path, capsys):
    with pytest.raises(SystemExit, match=f"{tmp_path}: no recorded results; run `make reproduce`"):
        drawing.main([str(tmp_path)])
    tables()["rl_curves.csv"].to_csv(tmp_path / "rl_curves.csv", index=False)
    tables()["diffusion_loss.csv"].to_csv(tmp_path / "diffusion_loss.csv", index=False)  # half of what it needs
    drawing.main([str(tmp_path)])
    assert sorted(p.stem for p in (tmp_path / "figures").iterdir()) == ["reward_components", "rl_curves"]
    assert str(tmp_path / "figures" / "rl_curves.png") in capsys.readouterr().out
    with pytest.raises(SystemExit, match="^results/none: no recorded results.*then `make record`"):
        drawing.main([str(tmp_path), "results/none"])  # as `make figures` names a run beside the trials


def test_a_rung_that_answers_few_queries_stands_on_the_one_below_it():
    """Else best of 64 would seem worse than one sample where the few queries are hard ones."""
    each = tables()
    frame = each["ladder.csv"].assign(
        n=lambda f: [12 if rung in (ladder.BEST, ladder.TEXT) else 240 for rung in f.rung]
    )
    placed = figures._climbed(frame, each["losses.csv"]).set_index("rung").quality
    policy = frame.set_index("rung").quality[ladder.POLICY]
    assert placed[ladder.BEST] == policy + 1 and placed[ladder.TEXT] == policy + 2
    assert placed[ladder.MAXIMISER] == frame.set_index("rung").quality[ladder.MAXIMISER]


def test_what_the_font_lacks_is_left_out():
    said = "tennis \N{TENNIS RACQUET AND BALL} dress – café"
    assert example_figures._lines(said, 40, 2) == "tennis dress – café"
    hero = example_figures.hero(tables()["examples.csv"].assign(query=said))
    group = example_figures.group(tables()["group.csv"].assign(query=said))
    assert hero.axes[0].texts[0].get_text() == group.get_suptitle() == "“tennis dress – café”"
