"""Tests of discrepancy.serving."""
