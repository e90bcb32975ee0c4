"""The product: a text query in, a diverse set of contents out, no language model on the way. It rests on no evaluation.

`python -m r4t_utils.retriever serve FOLDER` answers over HTTP (extra ``serve``).
"""

from r4t_utils.retriever.fanout import FanoutRetriever

__all__ = ["FanoutRetriever"]
