"""A toy database in which a text is numbers of contents, for the tests of the rows and of the re-rankers."""

import numpy as np

from r4t_utils.evaluation.methods import Search
from r4t_utils.policy.prompts import Fanout
from r4t_utils.settings import Merging
from r4t_utils.space.encoder import unit
from r4t_utils.space.index import Index

N, D, M = 250, 16, 3
RNG = np.random.default_rng(0)
CONTENTS = unit(RNG.normal(size=(N, D))).astype(np.float32)
QUERIES = ["4", "8", "15", "16"]
FANOUTS = [Fanout(["7", "30", "2"], ""), Fanout(["9", "1", "2"], ""), Fanout(["3"], "fewer"), Fanout([], "not JSON")]


class Encoder:
    """A text is numbers of contents, and means what lies near their sum."""

    d = D

    def text(self, texts):
        return unit(np.stack([CONTENTS[[int(word) for word in text.split()]].sum(0) for text in texts]))


def search(k=5, rule="fill", weight=0.5):
    return Search(Encoder(), Index(CONTENTS), M, k, Merging(rule=rule, query_weight=weight))
