"""Tracking by MLflow: each run of a pipeline, with the outputs marked in the catalog, and its final state."""
