"""Seconds to score fan-outs at the paper's size, encoding excluded: `python docs/scoring_speed.py`.

512 fan-outs of ten sub-queries, a batch of Table 3, against 142,472 contents of 128 dimensions: made-up unit vectors,
since only their number counts. What is timed is the reward's own code, with a look-up in place of the encoder.
"""

import time
from statistics import median

import numpy as np

from r4t_utils.machine.device import fix_threads, numerics
from r4t_utils.policy.set_reward import SetReward
from r4t_utils.run import profiles
from r4t_utils.space.encoder import unit
from r4t_utils.space.index import Index

FANOUTS, K, CONTENTS, D, ROUNDS = 512, 10, 142_472, 128, 9


class Known:
    """An encoder of texts "0", "1", ... whose embeddings are there already."""

    def __init__(self, vectors: np.ndarray):
        self.vectors = vectors

    def text(self, texts: list[str]) -> np.ndarray:
        return self.vectors[[int(text) for text in texts]]


def main() -> None:
    rng = np.random.default_rng(0)
    contents, texts = (unit(rng.standard_normal((n, D)).astype(np.float32)) for n in (CONTENTS, FANOUTS * (K + 1)))
    encoder, index = Known(texts), Index(contents)
    reward = SetReward("oar", encoder, index, profiles.load("cpu").rl, K)  # pyright: ignore[reportArgumentType]
    fanouts = [[str(i * K + j) for j in range(K)] for i in range(FANOUTS)]
    queries, seconds = [str(FANOUTS * K + i) for i in range(FANOUTS)], {"all": [], "search alone": []}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        reward.score(queries, fanouts)
        middle = time.perf_counter()
        index.search(texts[: FANOUTS * K], 1)
        seconds["all"].append(middle - start)
        seconds["search alone"].append(time.perf_counter() - middle)
    for name, each in seconds.items():
        print(f"{name}: {median(each):.2f} s [{min(each):.2f}, {max(each):.2f}], {ROUNDS} rounds")
    print(numerics())


if __name__ == "__main__":
    fix_threads()
    main()
