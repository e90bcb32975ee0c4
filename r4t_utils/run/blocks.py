"""What `make record` writes between the marks of a notebook's prose, ``<!-- NAME ARGUMENT -->`` ...
``<!-- end NAME -->``, from a folder of recorded results. ARGUMENT is there where a block is about one stage, trial or
function."""

import ast
import inspect
import os
import re
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from r4t_utils.machine.checks import read_table
from r4t_utils.run import paths, recorded

MEASURES = {  # of ablations.csv, all times 100
    "reward": "reward, 6:2:2",
    "ground": "groundedness",
    "div": "Vendi / k",
    "align": "alignment",
    "formed": "well formed",
    "distinct": "different sub-queries",
    "contents": "different contents",
    "copies": "copies of q",
    "elsewhere": "found by other queries too",
    "outside": "words of no lexicon",
    "quality": "judge: alone",
    "merged": "judge: merged",
}

FIRST = ("reward", "contents", "copies", "quality", "merged")  # of them; the others are folded


def cost(folder: Path, place: Path, stage: str) -> list[str]:
    """What a stage of the recorded run took."""
    facts = recorded.run_manifest(folder)["stages"][stage]
    minutes, gigabytes = facts["seconds"] / 60, facts["peak_memory_mb"] / 1000
    return [f"The recorded run of this notebook took {minutes:.1f} minutes and {gigabytes:.1f} GB of memory."]


def badges(folder: Path, place: Path, stage: str) -> list[str]:
    """Links that open a notebook on a host. Their pictures are ours, so that a page asks nobody else for them."""
    file = f"{repository()}/blob/main/notebooks/{stage}.ipynb"
    colab = file.replace("https://github.com", "https://colab.research.google.com/github")
    links = {"Colab": colab, "Kaggle": f"https://www.kaggle.com/kernels/welcome?src={file}"}
    return [
        " ".join(f"[![Open in {host}](../docs/pictures/{host.lower()}.svg)]({link})" for host, link in links.items())
    ]


def repository() -> str:
    """The address of the project's repository, from pyproject.toml."""
    return tomllib.loads((paths.ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Repository"]


def over_seeds(folder: Path, place: Path, stage: str) -> list[str]:
    """The claims with their verdicts over seeds."""
    from r4t_utils.evaluation import verdicts

    seeds = recorded.run_manifest(folder).get("seeds", {})
    if not seeds:
        return ["One seed is recorded, which decides no claim."]
    return [_picture(place, "claims"), "", *_claims(verdicts.read(folder), list(seeds))]


def ablations(folder: Path, place: Path, stage: str) -> list[str]:
    """Figure 4 and its claims: figures, verdicts, what every policy measures at its end, and what it says."""
    import pandas as pd

    from r4t_utils.evaluation import verdicts
    from r4t_utils.evaluation.claims import UNTUNED
    from r4t_utils.evaluation.variants import DEFAULT_REWARD

    if not (folder / "ablations").is_dir():
        return ["Not recorded here: `make ablations` trains the policies, and `make record` puts them here."]
    seeds, folder, place = recorded.ablations_manifest(folder)["seeds"], folder / "ablations", place / "ablations"
    curves = read_table(folder / "ablations.csv", "variant", "step", "seed", *(m for m in MEASURES if m != "reward"))
    last = curves.loc[curves["step"] == curves.groupby("variant")["step"].transform("max")]
    start = curves.loc[curves["step"] == 0].groupby("seed", as_index=False).head(1).assign(variant=UNTUNED)
    ends = pd.concat([start, last])
    ends["reward"] = 0.6 * ends["ground"] + 0.2 * ends["div"] + 0.2 * ends["align"]  # by the same measure for all
    lines = [_picture(place, "ablations"), "", *_claims(verdicts.read(folder), seeds), ""]
    means = {str(name): dict(100 * rows[[*MEASURES]].mean()) for name, rows in ends.groupby("variant", sort=False)}
    told = f"In brackets: how far it lies above *{DEFAULT_REWARD}*, over seeds and groups of near-duplicate queries."
    lines += [told, "", *_measures(means, FIRST, _above_default(folder)), ""]
    lines += ["<details><summary>All that was measured of them, and what they say</summary>", ""]
    lines += _measures(means, MEASURES, {})
    said = read_table(folder / "ablations_said.csv", "variant", "asked", "fanout")
    lines += ["", f"To “{said['asked'].iloc[0]}”, seed {seeds[0]}:", ""]
    lines += [f"- *{name}*: {text.replace(' | ', '; ')}" for name, text in zip(said["variant"], said["fanout"])]
    lines += ["", "</details>"]
    return [*lines, "", _picture(place, "best_of")]


def _measures(means: Mapping[str, Mapping], keys: Iterable[str], above: Mapping[tuple[str, str], str]) -> list[str]:
    """A table of some of MEASURES, a row per policy; `above` is what stands behind a value."""
    rows = ([name, *(f"{row[key]:.1f}{above.get((name, key), '')}" for key in keys)] for name, row in means.items())
    return table(["tuned by", *(MEASURES[key] for key in keys)], rows)


def _above_default(folder: Path) -> dict[tuple[str, str], str]:
    """{(variant, measure): how far it lies above the default reward}, as an interval."""
    rows = read_table(folder / "ablations_gained.csv", "variant", "measure", "mean", "low", "high").to_dict("records")
    return {(row["variant"], row["measure"]): " ({mean:+.1f} [{low:+.1f}, {high:+.1f}])".format(**row) for row in rows}


def code(folder: Path, place: Path, name: str) -> list[str]:
    """A function of the package, such as r4t_utils.policy.rewards.vendi, or a method of a class, without its docstring,
    and where it stands."""
    found = resolve_name(name)
    lines, _ = inspect.getsourcelines(found)
    source = textwrap.dedent("".join(lines)).rstrip()
    first, *rest = ast.parse(source).body[0].body  # pyright: ignore[reportAttributeAccessIssue]
    shown, said = source.splitlines(), isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    if said and rest:
        del shown[first.lineno - 1 : first.end_lineno]
    file = Path(*found.__module__.split(".")).with_suffix(".py").as_posix()
    return ["```python", *shown, "```", f"`{found.__qualname__}` stands in [{file}](../{file})."]


def trial(folder: Path, place: Path, name: str) -> list[str]:
    """The figure of a trial that stands in results/trials, and its differences where it has a table of them."""
    trials = place.parents[1] / "trials"
    lines, file = [_picture(trials, name)], trials / f"{name}_differences.csv"
    if not file.is_file():
        return lines
    found = read_table(file, "what", "way", "mean", "low", "high")
    found["cell"] = ["{mean:+.1f} [{low:+.1f}, {high:+.1f}]".format(**row) for row in found.to_dict("records")]
    rows = ([str(what), *each["cell"]] for what, each in found.groupby("what", sort=False))
    return [*lines, "", *table(["quality that is gained by", *dict.fromkeys(found["way"])], rows)]


def _picture(folder: Path, name: str) -> str:
    """A recorded figure as a notebook's prose shows it."""
    from r4t_utils.evaluation.drawing import FIGURES

    place = os.path.relpath(folder / "figures" / f"{name}.png", paths.notebooks())
    return f"![{FIGURES[name].alt}]({Path(place).as_posix()})"


def between(text: str, name: str, body: Callable[[str], str]) -> str:
    """The text with what stands between ``<!-- NAME ARGUMENT -->`` and ``<!-- end NAME -->`` drawn anew by
    `body(argument)`, the argument "" where there is none; the same text where there are no such marks."""
    marks = re.compile(rf"(<!-- {name}(?: ([\w.]+))? -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    return marks.sub(lambda found: f"{found[1]}{body(found[2] or '')}\n{found[3]}", text)


BLOCKS = {"badges": badges, "cost": cost, "seeds": over_seeds, "ablations": ablations, "trial": trial, "code": code}


def filled(source: str, folder: Path, place: Path | None = None) -> str:
    """Prose with every block drawn anew from a folder of results, whose figures it shows from `place`: where the folder
    will lie, if it does not lie there yet."""
    for name, block in BLOCKS.items():
        source = between(source, name, lambda stage, block=block: "\n".join(block(folder, place or folder, stage)))
    return source


def _claims(claims: list[dict], seeds: Sequence[Any]) -> list[str]:
    """Each claim with its verdict, and with that of answers without the query's own list where there is one; then the
    numbers behind them, folded."""
    rows = [(row, row.get("without_query") or {}) for row in claims]
    other = ["without the query's list"] if any(without for _, without in rows) else []
    said = ([row["id"], row["claim"], f"**{row['verdict']}**", without.get("verdict", "–")] for row, without in rows)
    found = ([row["id"], row["ours"], without.get("ours", "–")] for row, without in rows)
    fold = f"<details><summary>The numbers, with their 95 % intervals, of seeds {', '.join(map(str, seeds))}</summary>"
    numbers = table(["id", "difference or ratio", *other], found)
    return [*table(["id", "claim", "verdict", *other], said), "", fold, "", *numbers, "", "</details>"]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], centred: int = 0) -> list[str]:
    """Lines of a table, the last columns centred; what a row holds beyond its heads is left out."""
    lines = [f"| {' | '.join(heads)} |", "|---" * (len(heads) - centred) + "|:-:" * centred + "|"]
    return lines + [f"| {' | '.join(row[: len(heads)])} |" for row in rows]
