"""What makes a run repeatable: its parameters, its stages, and what they hand on."""
