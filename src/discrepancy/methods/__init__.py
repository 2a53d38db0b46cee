"""The methods, one file per paper, and what they share."""

from discrepancy.methods.detector import Detector
from discrepancy.methods.dfc import DFC
from discrepancy.methods.dfr import DFR
from discrepancy.methods.fod import FOD

METHODS: dict[str, type[Detector]] = {method.method: method for method in (DFC, DFR, FOD)}
"""Detectors by the name that stands on their card."""
