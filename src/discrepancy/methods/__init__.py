"""The methods, one file per paper, and what they share."""

from discrepancy.methods.base import Detector
from discrepancy.methods.dfc.model import DFC
from discrepancy.methods.dfr.model import DFR
from discrepancy.methods.fod.model import FOD

METHODS: dict[str, type[Detector]] = {method.method: method for method in (DFC, DFR, FOD)}
"""Detectors by the name that stands on their card."""
