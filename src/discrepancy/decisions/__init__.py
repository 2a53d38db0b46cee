"""From scores to decisions: thresholds that keep their target, outlines, costs, drift."""
