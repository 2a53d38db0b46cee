"""Threads that wait do not spin for long, unless the user has chosen otherwise."""

import os
import subprocess
import sys

import pytest

from discrepancy.waiting_threads import CHOICES, SPINS

ASK = "import discrepancy, os; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, f"{SPINS} None"),
        ({"GOMP_SPINCOUNT": "7"}, "7 None"),
        ({"OMP_WAIT_POLICY": "active"}, "None active"),
    ],
)
def test_a_choice_of_the_user_wins(chosen, expected):
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES} | chosen
    found = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == expected
