"""What `tools/gpu_check.py` measures, one file per question. Imports the core alone: no Kedro, no MLflow."""
