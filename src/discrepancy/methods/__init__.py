"""The methods: one folder per paper, beside what several of them share."""

from discrepancy.methods.base import Method
from discrepancy.methods.registry import METHODS

__all__ = ["METHODS", "Method"]
