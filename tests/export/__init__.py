"""Tests of discrepancy.export."""
