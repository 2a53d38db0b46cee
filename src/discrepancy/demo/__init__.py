"""The demo data set: synthetic photographs of parts, rendered with defects and exact masks.

It is synthetic and has to be called so wherever it is shown.
"""

from discrepancy.demo.dataset import CATEGORIES, check_root, render_category
from discrepancy.demo.folder import render_photographs
from discrepancy.demo.light import DIM, LIGHTS, USUAL, Light

__all__ = ["CATEGORIES", "DIM", "LIGHTS", "USUAL", "Light", "check_root", "render_category", "render_photographs"]
