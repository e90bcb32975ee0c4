"""Every row, score, claim and figure of the paper that this project tests."""
