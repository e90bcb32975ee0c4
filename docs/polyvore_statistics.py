"""Writes the statistics of real outfits that notebook 1 shows: `python docs/polyvore_statistics.py FOLDER`.

FOLDER holds the JSON files of Maryland Polyvore. What is written are aggregates of all outfits, over MiniLM embeddings
of the names of their items.
"""

import json
import sys
from pathlib import Path

from r4t_utils.data import polyvore
from r4t_utils.space.encoder import SentenceEncoder
from r4t_utils.space.statistics import RECORDED, statistics


def main(folder: Path) -> None:
    """Writes the file of the package that `statistics.recorded` reads."""
    corpus = polyvore.load(folder, n_oar_queries=20, n_wscr_queries=20)
    numbers = statistics(corpus, SentenceEncoder()(corpus.items.title.tolist(), "items"))
    rounded = {name: int(value) if value.is_integer() else round(value, 4) for name, value in numbers.items()}
    command = f"python docs/polyvore_statistics.py {folder.name}"
    source = f"{command} ({corpus.name}; embeddings of all-MiniLM-L6-v2)"
    RECORDED.write_text(json.dumps({**rounded, "source": source}, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/polyvore_statistics.py FOLDER, which holds the JSON files of Polyvore")
    main(Path(sys.argv[1]))
