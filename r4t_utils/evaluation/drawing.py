"""Draws a figure from recorded results alone: its files, the common style, and a small PNG with alt text.

`python -m r4t_utils.evaluation.drawing results/cpu/sample ...` draws every figure whose files the folders hold.
"""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib
import PIL.Image
import seaborn as sns
from IPython.display import Image
from matplotlib.figure import Figure

from r4t_utils.evaluation import example_figures, figures, training_figures, verdicts
from r4t_utils.machine.checks import read_table

STYLE = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("paper"),
    "lines.linewidth": 1.5,
    "font.family": "DejaVu Sans",
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), 9),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 8),
    "legend.frameon": False,
    "grid.linewidth": 0.6,
    "grid.color": "0.9",
    "axes.edgecolor": "0.7",
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
}


WIDTH = 770  # pixels in which a figure of 7 inches is shown


class Entry(NamedTuple):
    """A figure's function and the files that its arguments are read from: tables, or claims.json with its verdicts."""

    function: Callable[..., Figure]
    files: tuple[str, ...]
    beside: tuple[str, ...] = ()  # what lies in the same folder, unless that holds the same files about something else

    @property
    def alt(self) -> str:
        return " ".join((self.function.__doc__ or "").split())


FIGURES = {
    "encoder_prefixes": Entry(training_figures.encoder_prefixes, ("encoder_prefixes.csv",)),
    "rl_curves": Entry(training_figures.rl_curves, ("rl_curves.csv",)),
    "reward_components": Entry(training_figures.reward_components, ("rl_curves.csv",)),
    "diffusion_loss": Entry(training_figures.diffusion_loss, ("diffusion_loss.csv", "diffusion_loss_by_sigma.csv")),
    "diffusion_progress": Entry(training_figures.diffusion_progress, ("diffusion_progress.csv",)),
    "results": Entry(figures.results, ("metrics.csv",)),
    "claims": Entry(figures.claims, ("claims.json",), beside=("metrics.csv",)),
    "claims_short": Entry(figures.claims_short, ("claims.json",), beside=("metrics.csv",)),
    "ladder": Entry(figures.ladder, ("ladder.csv", "losses.csv")),
    "few_evaluations": Entry(training_figures.few_evaluations, ("few_evaluations.csv",)),
    "generalisation": Entry(training_figures.generalisation, ("generalisation.csv", "generalisation_curve.csv")),
    "students": Entry(training_figures.students, ("students.csv",)),
    "ablations": Entry(training_figures.ablations, ("ablations.csv",)),
    "best_of": Entry(figures.best_of, ("best_of.csv",)),
    "latency": Entry(figures.latency, ("latency.csv",)),
    "group": Entry(example_figures.group, ("group.csv",)),
    "pair": Entry(example_figures.pair, ("pair.csv",)),
    "denoising": Entry(example_figures.denoising, ("denoising.csv",)),
    "on_map": Entry(example_figures.on_map, ("map.csv",)),
    "examples": Entry(example_figures.examples, ("examples.csv",)),
    "hero": Entry(example_figures.hero, ("examples.csv",)),
}


class Drawn(Image):
    """A PNG whose alt text is in a notebook output's metadata["image/png"]["alt"], which nbconvert's classic template
    writes into the page, and is the output's text form, which others fall back to."""

    def __repr__(self) -> str:
        return self.metadata["alt"]  # pyright: ignore[reportOptionalSubscript]


def _png(figure: Figure) -> bytes:
    """The figure in at most 256 colours, a third of the size; equal figures give equal bytes."""
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=220)  # twice WIDTH, for screens with two dots per pixel
    colours = PIL.Image.open(full).convert("RGB").quantize(256, dither=PIL.Image.Dither.NONE)
    colours.save(small, format="png", optimize=True)
    return small.getvalue()


def _read(path: Path) -> object:
    """A table, or the verdicts of a folder of results."""
    return read_table(path) if path.suffix == ".csv" else verdicts.read(path.parent)


def draw(name: str, folder: str | Path) -> Drawn:
    """Draw figure `name` from its files in `folder`; save it as figures/<name>.png there.

    Raises ValueError for an unknown figure, a missing file, or one that lacks a field.
    """
    if name not in FIGURES:
        raise ValueError(f"figure {name!r} is unknown; there are {', '.join(FIGURES)}.")
    entry, folder = FIGURES[name], Path(folder)
    if missing := [file for file in entry.files if not (folder / file).is_file()]:
        raise ValueError(f"figure {name!r} needs {', '.join(missing)} in {folder}; run its stage first.")
    given, where = [_read(folder / file) for file in entry.files], f"{', '.join(entry.files)} in {folder}"
    with matplotlib.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        try:
            png = _png(entry.function(*given))
        except (KeyError, AttributeError) as error:  # how pandas says that a column is missing
            field = str(error).rsplit("attribute", 1)[-1].strip(" '\"")
            raise ValueError(f"figure {name!r}: no field {field!r} in {where}; run its stage again.") from error
        except (TypeError, ValueError) as error:
            raise ValueError(f"figure {name!r}: {where} cannot be drawn ({error}); run its stage again.") from error
    target = folder / "figures" / f"{name}.png"
    target.parent.mkdir(exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(png)
    partial.replace(target)
    return Drawn(data=png, format="png", width=WIDTH, metadata={"alt": entry.alt})


def main(folders: list[str]) -> None:
    """Draws every figure whose files are in one of the folders; exits with a message where one of them holds none, or a
    field is missing."""
    needed = {name: entry.files + entry.beside for name, entry in FIGURES.items()}
    found = [(n, Path(f)) for f in folders for n, names in needed.items() if all(Path(f, x).is_file() for x in names)]
    empty = [folder for folder in folders if Path(folder) not in {held for _, held in found}]
    if empty or not folders:
        named = " ".join(empty) or "no folder"
        sys.exit(f"{named}: no recorded results; run `make reproduce` for that run, and then `make record`")
    for name, folder in found:
        try:
            draw(name, folder)
        except ValueError as error:
            sys.exit(f"error: {error}")
        print(folder / "figures" / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
