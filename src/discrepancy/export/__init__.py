"""Detectors that leave the machine they were trained on: ONNX graphs, and bundles that need no PyTorch."""
