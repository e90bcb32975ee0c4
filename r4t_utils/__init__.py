"""A small-scale replication of "Efficient, Property-Aligned Fan-Out Retrieval via RL-Compiled Diffusion" (arXiv
2603.06397). The six notebooks tell the story; this package holds what they share. Importing it loads nothing heavy."""

__version__ = "0.1.0"

import os
import warnings

# Before torch is imported anywhere: threads that wait should sleep, not spin. On a shared machine with few cores
# spinning threads hold up the very work they wait for (up to 4 times slower, measured on 2 cores).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# No widgets here: bars are text, so that saved notebooks render anywhere.
warnings.filterwarnings("ignore", message="IProgress not found")
