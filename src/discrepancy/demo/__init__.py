"""The demo data set: synthetic photographs of parts, rendered with defects and exact masks.

It is synthetic and has to be called so wherever it is shown.
"""

from discrepancy.demo.dataset import CATEGORIES, check_root, render_category

__all__ = ["CATEGORIES", "check_root", "render_category"]
