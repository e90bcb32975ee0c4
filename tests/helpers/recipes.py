"""A small corpus of recipes in the JSON lines format, neither outfits nor arguments: the README's worked example."""

import json
from itertools import product
from pathlib import Path

DISHES = ("soup", "curry", "salad", "stew", "pie", "noodles", "tacos", "risotto")
BASES = ("lentil", "tomato", "mushroom", "chicken", "pumpkin", "salmon", "bean", "spinach")
WAYS = ("quick", "slow cooked", "spicy", "creamy")


def rows() -> tuple[list[dict], list[dict], list[dict], list[str]]:
    """Contents, queries, sets and judgements: 256 recipes, 80 queries of different recipes, 50 sets, and a subtopic for
    each dish (where the query names none) or base."""
    recipes = list(product(DISHES, BASES, WAYS))
    contents = [
        {"id": f"r{i}", "text": f"{way} {base} {dish}", "category": dish} for i, (dish, base, way) in enumerate(recipes)
    ]
    queries, sets, judged = [], [], []
    for i, (way, word) in enumerate(product((*WAYS, ""), (*DISHES, *BASES))):
        queries.append({"id": f"q{i}", "text": f"{way} dinner with {word}".strip()})
        mine = [(j, r) for j, r in enumerate(recipes) if word in r and way in (*r, "")]
        judged += [f"q{i} {base if dish == word else dish} r{j} 1" for j, (dish, base, _) in mine]
        judged.append(f"q{i} {DISHES[0]} r{next(j for j, r in enumerate(recipes) if word not in r)} 0")  # seen, not so
        if i % 8 < 5:
            sets.append({"query": f"q{i}", "contents": [f"r{j}" for j, _ in mine[::3]]})
    return contents, queries, sets, judged


def write(folder: Path, *, sets: bool = True, qrels: bool = True) -> Path:
    """The files in a folder, which is made; without sets.jsonl or qrels.txt where they are not wanted."""
    folder.mkdir(parents=True, exist_ok=True)
    *tables, judged = rows()
    for name, table in zip(("contents", "queries", "sets"), tables):
        if name != "sets" or sets:
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    if qrels:
        (folder / "qrels.txt").write_text("\n".join(judged) + "\n")
    return folder
