"""A committee: several methods that share one frozen network, and whose anomaly maps are averaged."""
