"""The code behind a notebook as one hash: comments, docstrings and layout do not count."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

from r4t_utils.machine.checks import file_hash
from r4t_utils.run import paths
from r4t_utils.run.files import text_hash, to_json
from r4t_utils.run.notebooks import read

PACKAGE = "r4t_utils"
# Looks, not content.
UNHASHED = {f"{PACKAGE}.{name}" for name in ("evaluation.drawing", "evaluation.figures", "machine.progress")}


def code_hash(notebook: Path) -> str:
    """Hash of a notebook's code cells, of the package's modules that they import, directly or not, and of the
    data files (YAML, JSON) that those modules name.

    Modules that only draw or report do not count. "" where there is no such notebook; SettingsError for another file.
    """
    if not notebook.is_file():
        return ""
    cells = [_understood(cell.source) for cell in read(notebook).cells if cell.cell_type == "code"]
    imports = set().union(*(names for _, names in cells))
    return text_hash(to_json([[shape for shape, _ in cells], _modules(imports)]))


def module_hash(name: str) -> str:
    """The same of a module of the package, such as "r4t_utils.evaluation.variants"."""
    return text_hash(to_json(_modules({name})))


def _modules(names: set[str]) -> dict[str, list]:
    """What counts of these modules and of all that they import: their syntax, and the hashes of their data files."""
    found, waiting = {}, sorted(names)
    while waiting:
        module = waiting.pop()
        file = _file(module)
        if module in found or module in UNHASHED or file is None:
            continue
        text = file.read_text(encoding="utf-8")
        shape, imports = _understood(text)
        data = [p for p in sorted(file.parent.iterdir()) if p.suffix in (".yaml", ".json") and p.name in text]
        found[module] = [shape, {p.name: file_hash(p) for p in data}]
        waiting.extend(imports)
    return found


@cache
def _understood(source: str) -> tuple[list, set[str]]:
    """What counts of a source, and the modules that it imports; worked out once, since every stage asks for most."""
    tree = _parsed(source)
    if tree is None:  # no Python: every character counts, and what its lines import
        named = re.findall(r"(?m)^\s*(?:from|import)\s+([\w.]+)", source)
        return [source], _imports(ast.parse("\n".join(f"import {name}" for name in named)))
    return _shape(tree), _imports(tree)


def _shape(node: Any) -> Any:
    """A syntax tree as nested lists and dicts. Empty fields are left out: which there are depends on the Python."""
    if isinstance(node, list):
        return [_shape(each) for each in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: _shape(value) for name, value in ast.iter_fields(node) if value not in (None, [])}
    return [type(node).__name__, fields]


def _parsed(source: str) -> ast.Module | None:
    """The syntax tree without docstrings; None for what is no Python."""
    try:
        tree = ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source))
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body.pop(0)
    return tree


def _imports(tree: ast.Module) -> set[str]:
    """The package's modules (and possible modules) that a tree imports, with their parent packages."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = [name.split(".") for name in names if name.split(".")[0] == PACKAGE]
    return {".".join(parts[:depth]) for parts in ours for depth in range(1, len(parts) + 1)}


def _file(module: str) -> Path | None:
    base = paths.ROOT.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)
