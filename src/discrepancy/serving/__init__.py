"""A bundle behind HTTP: photographs in, scores, decisions and outlines out; without PyTorch."""
