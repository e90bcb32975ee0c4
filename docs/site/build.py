"""Builds the site from what is recorded: `make docs` writes artifacts/site/html, which works from a disk as it is.

Gathers README, notebooks, results and documents in a folder of their own, in the places that their links expect, with
a page for each room of the package from its docstrings, and lets Sphinx render them. Exit status: 0 done, 1 a fault in
a page, 2 nothing is recorded.
"""

import re
import shutil
import sys
from pathlib import Path

import nbformat
from sphinx.cmd.build import main as sphinx

from r4t_utils.evaluation import drawing, verdicts
from r4t_utils.run import paths
from r4t_utils.run.stage import STAGES

HERE = Path(__file__).resolve().parent
ICON = re.compile(r'"?([\w-]+)"?:\[\d+,\d+,\[[^\]]*\],"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\],?')  # name: its shape
PAGES = {
    "The method": [f"notebooks/{stage}" for stage in STAGES],
    "Decisions and findings": [
        "docs/deviations",
        "results/LOG",
        "docs/own_data",
        "docs/scale",
        "docs/hosts",
        "CONTRIBUTING",
        "CHANGELOG",
    ],
}


def gather(target: Path) -> None:
    """Lays out the sources of the site in `target`. Raises ValueError where no default run is recorded."""
    if not (paths.ROOT / "results/cpu/sample/claims.json").is_file():
        raise ValueError("results/cpu/sample: nothing is recorded; run `make seeds` and `make record` first")
    shutil.rmtree(target, ignore_errors=True)
    for name in ("results", "docs", "notebooks"):
        left_out = shutil.ignore_patterns("*.py", "*.csv", "site", "__pycache__")
        shutil.copytree(paths.ROOT / name, target / name, ignore=left_out)
    for path in (*paths.ROOT.glob("*.md"), paths.ROOT / "CITATION.cff"):
        shutil.copy(path, target)
    shutil.copy(HERE / "conf.py", target)
    (target / "static").mkdir()
    shutil.copy(HERE / "site.css", target / "static")
    for path in (target / "notebooks").glob("*.ipynb"):
        _adapt(path)
    rooms, runs = _reference(target / "reference"), _results(target / "results")
    (target / "README.md").rename(target / "index.md")
    with (target / "index.md").open("a", encoding="utf-8") as index:
        for caption, pages in {**PAGES, "Results": runs, "Reference": rooms}.items():
            index.write(f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n")
    _mend_links(target)


def _adapt(path: Path) -> None:
    """Gives every figure of a notebook its alt text, which Sphinx reads from the cell, and leads its links to code to
    the reference."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\(\.\./r4t_utils/(\w+)/\w+\.py\)", r"](../reference/\1.md)", cell.source)
        for output in cell.get("outputs", []):
            if about := output.get("metadata", {}).get("image/png"):
                cell.metadata["mystnb"] = {"image": {"alt": about["alt"], "width": f"{about['width']}px"}}
    nbformat.write(notebook, path)


def _results(folder: Path) -> list[str]:
    """A page for each recorded run, with its claims and all its figures; returns their names."""
    pages = []
    for claims in sorted(folder.glob("*/*/claims.json")):
        run, rows = claims.parent, verdicts.read(claims.parent)
        lines = [f"# {run.parent.name}, {run.name}", "", "| id | claim | verdict | ours |", "|---|---|---|---|"]
        lines += [f"| {row['id']} | {row['claim']} | {row['verdict']} | {row['ours']} |" for row in rows]
        drawn = (name for name in drawing.FIGURES if (run / "figures" / f"{name}.png").is_file())
        lines += [f"\n![{drawing.FIGURES[name].alt}](figures/{name}.png)" for name in drawn]
        (run / "index.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        pages.append((Path("results") / run.relative_to(folder) / "index").as_posix())
    return pages


def _reference(folder: Path) -> list[str]:
    """A page for each room of the package; returns their names from the ground up."""
    folder.mkdir()
    package = paths.ROOT / "r4t_utils"
    rooms = ["settings", "machine", "data", "space", "policy", "diffusion", "retriever", "evaluation", "run"]
    for room in rooms:
        modules = [f"r4t_utils.{room}"]
        modules += [f"r4t_utils.{room}.{p.stem}" for p in sorted((package / room).glob("*.py")) if p.stem[0] != "_"]
        parts = [f"# {room}\n"]
        for module in modules:
            heading = f"## {module}\n\n" if module != modules[0] else ""
            parts.append(f"{heading}```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```\n")
        (folder / f"{room}.md").write_text("\n".join(parts), encoding="utf-8")
    return [f"reference/{room}" for room in rooms]


def _mend_links(target: Path) -> None:
    """README is the first page here, a recorded run has a page, and a link to any other folder or to code becomes plain
    text."""
    for path in target.rglob("*.md"):
        text = path.read_text(encoding="utf-8").replace("README.md", "index.md")
        for whole, words, link in re.findall(r"((?<!!)\[([^\]]+)\]\(([^)#\s]+)[^)]*\))", text):
            if link.startswith("http") or (path.parent / link).is_file():
                continue
            paged = (path.parent / link / "index.md").is_file()
            text = text.replace(whole, f"[{words}]({link}/index.md)" if paged else words)
        path.write_text(text, encoding="utf-8")


def _keep_used_icons(html: Path) -> None:
    """Leaves the theme's script the icons that pages name: every page loads it, and all of them are 1.5 MB."""
    script = html / "_static/scripts/fontawesome.js"
    naming = (path for path in (*html.rglob("*.html"), *script.parent.glob("*.js")) if path != script)
    used = {name for path in naming for name in re.findall(r"fa-([a-z-]+)", path.read_text(encoding="utf-8"))}
    text = ICON.sub(lambda icon: icon[0] * (icon[1] in used), script.read_text(encoding="utf-8"))
    script.write_text(text, encoding="utf-8")


def main() -> int:
    """Builds the site; returns the exit status."""
    site = paths.artifacts() / "site"
    try:
        gather(site / "source")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    shutil.rmtree(site / "html", ignore_errors=True)
    folders = (str(site / name) for name in ("source", "html"))
    if status := sphinx(["-q", "-W", "--keep-going", "-b", "html", "-d", str(site / "doctrees"), *folders]):
        return status
    _keep_used_icons(site / "html")
    print(f"open {paths.shown(site / 'html' / 'index.html')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
