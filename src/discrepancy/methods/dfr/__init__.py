"""DFR, Deep Feature Reconstruction (Yang, Shi, Qi, 2020; Neurocomputing)."""
