"""Draw figures from recorded results alone: `python -m r4t_utils.evaluation.plots --profile cpu --dataset sample`."""

import argparse
import io
import os
import sys
from pathlib import Path

import matplotlib
import pandas as pd
import PIL.Image
from IPython.display import Image
from matplotlib.figure import Figure

from r4t_utils.evaluation.figures import DPI, FIGURES, STYLE
from r4t_utils.run import paths

__all__ = ["FIGURES", "draw", "main"]


class Drawn(Image):
    """A PNG whose alt text is both in its output's metadata and its text form, for readers without images."""

    def __repr__(self) -> str:
        return self.alt


def _png(figure: Figure) -> bytes:
    """The figure in at most 256 colours, a third of the size; equal figures give equal bytes."""
    full, small = io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(full, format="png", dpi=DPI)
    PIL.Image.open(full).convert("RGB").quantize(256, dither=PIL.Image.Dither.NONE).save(
        small, format="png", optimize=True
    )
    return small.getvalue()


def draw(name: str, results_dir: str | Path) -> Drawn:
    """Draw figure `name` from the CSV files in `results_dir`; save it as figures/<name>.png there.

    Returns an IPython Image. In a notebook its alt text is metadata["image/png"]["alt"] of the output, which
    nbconvert's classic template writes into the page, and data["text/plain"], which others fall back to.
    Raises ValueError for an unknown figure or a missing CSV file.
    """
    if name not in FIGURES:
        raise ValueError(f"figure {name!r} is unknown; there are {', '.join(FIGURES)}.")
    entry, folder = FIGURES[name], Path(results_dir)
    if missing := [csv for csv in entry.csvs if not (folder / csv).is_file()]:
        raise ValueError(f"figure {name!r} needs {', '.join(missing)} in {folder}; run its stage first.")
    png = _png(entry.function(*(pd.read_csv(folder / csv) for csv in entry.csvs)))
    target = folder / "figures" / f"{name}.png"
    target.parent.mkdir(exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(png)
    partial.replace(target)
    return Drawn(data=png, format="png", alt=entry.alt)


def main(arguments: list[str] | None = None) -> None:
    """Redraw every figure whose CSV files are there."""
    parser = argparse.ArgumentParser(prog="python -m r4t_utils.evaluation.plots", description=main.__doc__)
    parser.add_argument("--profile", required=True, help="smoke, cpu, gpu or paper")
    parser.add_argument("--dataset", required=True, help="sample or polyvore (its subset too)")
    args = parser.parse_args(arguments)
    whole = paths.run_results(args.profile, args.dataset)
    folders = [whole, whole.with_name(f"{whole.name}-subset")]
    drawn = [
        (name, folder)
        for folder in folders
        for name, entry in FIGURES.items()
        if all((folder / csv).is_file() for csv in entry.csvs)
    ]
    if not drawn:
        sys.exit(f"{whole} holds no recorded results; run `make reproduce` for that profile and data first.")
    for name, folder in drawn:
        draw(name, folder)
        print(folder / "figures" / f"{name}.png")


if __name__ == "__main__":
    main()
