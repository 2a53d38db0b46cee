"""DFC, Deep Feature Correspondence (Yang, Shi, Qi, Pattern Recognition 2022)."""
