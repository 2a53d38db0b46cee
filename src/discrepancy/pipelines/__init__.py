"""Kedro pipelines: thin wiring of the other packages."""
