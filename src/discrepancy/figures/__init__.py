"""Pictures and tables of results: values in, figures, pictures or text out; no metric is computed, no file written."""
