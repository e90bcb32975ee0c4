"""A small-scale replication of "Efficient, Property-Aligned Fan-Out Retrieval via RL-Compiled Diffusion"
(arXiv 2603.06397). The six notebooks tell the story; this package holds what they share, one concept a file,
with the paper's symbols and equation numbers: rewards, Soft-GRPO, synthesis of targets, set diffusion and
metrics, and the plumbing (profiles, artifacts, pipeline) that makes a run repeatable. Importing it loads
nothing heavy."""

__version__ = "0.1.0"
