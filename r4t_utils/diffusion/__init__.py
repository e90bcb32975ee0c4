"""Stage 3 of the paper: the set diffusion model that a fan-out policy is compiled into (Section 2.5)."""
