"""Stages 1 and 2 of the paper: the fan-out policy, its rewards and its tuning, and the pairs it writes."""
