"""PatchCore: distance to the nearest of a small memory of normal patches (Roth et al. 2022)."""
