"""Damaged files: one error that names the file, or the right result; nothing executed, nothing written elsewhere."""

from __future__ import annotations

import json
import logging
import re
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from discrepancy.errors import InputError
from discrepancy.features.backbones import build_backbone
from tests.faults.damage import MARKER, flipped, whole
from tests.faults.subjects import save_detectors, subjects

_KEPT = tempfile.TemporaryDirectory(prefix="damaged-")
WORKSHOP = Path(_KEPT.name)
_BACKBONES = {}


def remembered(name, **options):
    """`build_backbone`, which takes a fifth of a second, once for each network."""
    key = json.dumps([name, options], sort_keys=True)
    if key not in _BACKBONES:
        _BACKBONES[key] = build_backbone(name, **options)
    return _BACKBONES[key]


save_detectors(WORKSHOP, remembered)
SUBJECTS = subjects(WORKSHOP)
CASES = [(subject, damage) for subject, found in SUBJECTS.items() for damage in found.damages]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("discrepancy.methods.base.build_backbone", remembered)
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


def tree(folder, *, without):
    return {path for path in folder.rglob("*") if not path.is_relative_to(without)}


def told_or_right(subject, change, folder):
    """Damage the subject and use it; returns the error, or None if the result was right."""
    inside = folder / "inside"
    inside.mkdir(parents=True)
    path = subject.make(inside)
    change(path)
    before = tree(folder, without=inside)
    error = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's and PyTorch's, of what they then read or refuse
            subject.use(inside)
    except InputError as caught:
        error = str(caught)
        assert "\n" not in error.strip() and 20 < len(error) < 1200, error
        assert re.search("expected|should|required|known are|the right file", error.lower()), error
        assert not subject.names or path.name in error or str(path.parent) in error, error
    assert tree(folder, without=inside) == before
    assert not list(folder.rglob(MARKER))
    return error


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_sound_file_is_read(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told_or_right(SUBJECTS[name], lambda path: None, tmp_path) is None


@pytest.mark.parametrize(("name", "damage"), CASES, ids=[f"{name}: {damage}" for name, damage in CASES])
def test_a_damaged_file_is_named_or_does_no_harm(name, damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told_or_right(SUBJECTS[name], SUBJECTS[name].damages[damage], tmp_path)


def test_there_are_enough_kinds_of_damage():
    assert len(CASES) >= 200
    assert len({damage for _, damage in CASES}) >= 200
    wanted = ("photograph", "mask", "card", "weights", "checkpoint", "features", "sample table")
    assert all(any(part in name for name in SUBJECTS) for part in wanted)


@st.composite
def bytes_changed(draw):
    """A damage at a place that is drawn: bits turned, a piece cut out, exchanged, or put in."""
    place, length = draw(st.floats(0, 1)), draw(st.sampled_from([1, 2, 7, 64, 999]))
    kind, bit = draw(st.sampled_from(["bit", "cut", "zeros", "rubbish", "twice"])), draw(st.integers(0, 7))
    rubbish = draw(st.binary(min_size=length, max_size=length)) if kind == "rubbish" else b""

    def change(data):
        if kind == "bit":
            return flipped(data, place, bit)
        start = int(place * len(data))
        end = min(len(data), start + length)
        piece = {"cut": b"", "zeros": bytes(end - start), "rubbish": rubbish, "twice": 2 * data[start:end]}[kind]
        return data[:start] + piece + data[end:]

    return change


@pytest.mark.parametrize("name", [name for name, subject in SUBJECTS.items() if subject.checked])
@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(change=bytes_changed())
def test_damage_anywhere_is_named_or_does_no_harm(name, tmp_path, monkeypatch, change):
    monkeypatch.chdir(tmp_path)
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        told_or_right(SUBJECTS[name], whole(change), Path(folder))
