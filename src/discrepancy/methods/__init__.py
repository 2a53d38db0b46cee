"""The methods, one file per paper, and what they share."""

from discrepancy.methods.detector import Detector
from discrepancy.methods.dfc import DFC

METHODS: dict[str, type[Detector]] = {DFC.method: DFC}
"""Detectors by the name that stands on their card."""
