"""Copies that no one waits for, and the order in which batches are given to a GPU and taken from it."""

import numpy as np
import pytest
import torch

from discrepancy.detection.scoring import LazyScores
from discrepancy.host_copies import from_device, one_ahead, to_device

CPU = torch.device("cpu")


def test_an_array_comes_back_as_it_was():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    there = to_device(array, CPU)
    array[:] = 0  # the copy is one
    found, scores = from_device([there.float(), torch.ones(2)])()
    np.testing.assert_array_equal(found, np.arange(24).reshape(2, 3, 4))
    assert found.dtype == scores.dtype == np.float32 and scores.tolist() == [1, 1]
    (halves,) = from_device([torch.zeros(2, 3, 4, 5, dtype=torch.float16).to(memory_format=torch.channels_last)])()
    assert halves.dtype == np.float16 and halves.strides == (120, 2, 30, 6)  # channels last


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_the_next_batch_is_begun_before_one_is_waited_for(count):
    events = []

    def begun():
        for number in range(count):
            events.append(f"begin {number}")
            yield number

    for number in one_ahead(begun()):
        events.append(f"wait {number}")
    begins, waits = ([event for event in events if event.startswith(kind)] for kind in ("begin", "wait"))
    assert [begins, waits] == [[f"{kind} {number}" for number in range(count)] for kind in ("begin", "wait")]
    for number in range(count - 1):
        assert events.index(f"begin {number + 1}") == events.index(f"wait {number}") - 1


@pytest.mark.parametrize(
    ("device", "events"),
    [
        ("cuda", ["begin 0", "begin 4", "wait 0", "begin 6", "wait 4", "wait 6"]),
        ("cpu", ["begin 0", "wait 0", "begin 4", "wait 4", "begin 6", "wait 6"]),
    ],
)
def test_batches_that_shrink_keep_their_order(monkeypatch, device, events):
    """The memory is too small for the second batch, while on a GPU the first one is not fetched yet."""
    seen = []

    def started(self, rows):
        if rows.start == 4 and rows.stop - rows.start > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        seen.append(f"begin {rows.start}")

        def finish():
            seen.append(f"wait {rows.start}")
            return [np.arange(rows.start, rows.stop), np.zeros(rows.stop - rows.start)]

        return finish

    monkeypatch.setattr(LazyScores, "_started", started)
    images = np.zeros((7, 3, 4, 4), np.uint8)
    pieces = list(LazyScores(_Detector(), images, torch.device(device), 4).pieces())
    assert [piece.maps.tolist() for piece in pieces] == [[0, 1, 2, 3], [4, 5], [6]]
    assert all(piece.seconds > 0 for piece in pieces)
    assert seen == events


class _Detector:
    name = "x"

    def to(self, device):
        return self

    def eval(self):
        return self
