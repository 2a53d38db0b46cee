"""Words and addresses by which a report leads elsewhere."""

import pytest

from discrepancy.run_links import run_address, shown_date


@pytest.mark.parametrize(
    ("version", "shown"),
    [("2026-11-27T19.40.21.939Z", "2026-11-27 19:40 UTC"), ("my version", "my version")],
)
def test_a_version_is_shown_as_a_date(version, shown):
    assert shown_date(version) == shown


@pytest.mark.parametrize(
    ("store", "address"),
    [
        ("https://mlflow.example.com/", "https://mlflow.example.com/#/experiments/7/runs/ab"),
        ("http://host:5000/mlflow", "http://host:5000/mlflow/#/experiments/7/runs/ab"),
        ("https://user:secret@host:5000", "https://host:5000/#/experiments/7/runs/ab"),
        ("sqlite:////home/me/mlflow.db", "http://127.0.0.1:5000/#/experiments/7/runs/ab"),
        ("postgresql://user:secret@host/runs", ""),
    ],
)
def test_a_run_has_an_address_without_a_password(store, address):
    assert run_address(store, "7", "ab") == address
