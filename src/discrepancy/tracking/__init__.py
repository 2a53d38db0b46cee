"""MLflow: a run for each run of a pipeline, with what the catalog marks, and an end that tells what happened."""
