"""One way to show a table: no index, text to the left, one format of numbers, intervals in one column, best in bold."""

import html
from collections.abc import Sequence
from numbers import Real
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

NONE = "–"


class Shown:
    """A table as a page shows it, and as plain text where there is no page."""

    def __init__(self, page: str, text: str):
        self._page, self._text = page, text

    def _repr_html_(self) -> str:
        return self._page

    def __repr__(self) -> str:
        return self._text


def show(table: pd.DataFrame, best: Sequence[str] = (), digits: int = 1, fold: str = "") -> Shown:
    """A table for readers.

    table: an index with a name becomes a column, any other is dropped; columns `low` and `high` become one.
    best: columns of which the highest number is bold. digits: of a column whose numbers are not all whole; a number
    from 1,000 on has none.
    fold: a line of text, behind which a page hides the table. Raises ValueError for a column of `best` that is missing.
    """
    if missing := [name for name in best if name not in table]:
        raise ValueError(f"best: no column {missing}; the columns are {', '.join(map(str, table.columns))}")
    flat = table.reset_index(drop=not any(table.index.names))
    shown = pd.DataFrame({name: _texts(column, digits) for name, column in flat.items()}, dtype=object)
    for name in best:
        highest = flat[name] == flat[name].max()
        shown.loc[highest, name] = [f"<b>{text}</b>" for text in shown.loc[highest, name]]
    numeric = {str(name) for name in flat if is_numeric_dtype(flat[name])}
    if {"low", "high"} <= set(shown):
        at = list(shown).index("low")
        shown.insert(at, "95 % interval", "[" + shown["low"] + ", " + shown["high"] + "]")
        shown, numeric = shown.drop(columns=["low", "high"]), numeric | {"95 % interval"}
    shown.columns = [str(name) for name in shown]
    return Shown(_page(shown, numeric, fold), _plain(shown, numeric, fold))


def _texts(column: pd.Series, digits: int) -> list[str]:
    """A column's cells, escaped for a page."""
    if not is_numeric_dtype(column) or column.dtype == bool:
        return [NONE if _missing(value) else html.escape(str(value), quote=False) for value in column]
    whole = (column.dropna() % 1 == 0).all()
    return [NONE if pd.isna(x) else f"{x:,.{0 if whole or abs(x) >= 1000 else digits}f}" for x in column]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, Real) and bool(pd.isna(value)))


def _heading(name: str) -> str:
    return name.replace("_", " ")


def _page(shown: pd.DataFrame, numeric: set[str], fold: str) -> str:
    """HTML that says twice how cells are aligned: some pages overrule the attribute, and some drop the style."""
    sides = {name: "right" if name in numeric else "left" for name in shown}
    side = {name: f'align="{where}" style="text-align: {where}"' for name, where in sides.items()}
    heads = "".join(f"<th {side[name]}>{html.escape(_heading(name))}</th>" for name in shown)
    rows = (
        "".join(f"<td {side[name]}>{text}</td>" for name, text in zip(shown, row))
        for row in shown.itertuples(index=False)
    )
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    page = f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return f"<details><summary>{html.escape(fold)}</summary>\n{page}\n</details>" if fold else page


def _plain(shown: pd.DataFrame, numeric: set[str], fold: str) -> str:
    """The same in columns of one width, without marks."""
    cells = {
        name: [html.unescape(text).removeprefix("<b>").removesuffix("</b>") for text in shown[name]] for name in shown
    }
    columns = []
    for name, texts in cells.items():
        lines = [_heading(name), *texts]
        width = max(map(len, lines))
        columns.append([line.rjust(width) if name in numeric else line.ljust(width) for line in lines])
    return "\n".join(([fold] if fold else []) + ["  ".join(line).rstrip() for line in zip(*columns)])
