"""Arrays are kept in memory up to a size, beyond it in a file without a name."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from discrepancy.errors import InputError
from discrepancy.metrics import tempfiles
from discrepancy.metrics.tempfiles import spill_to_disk

ARRAYS = [np.arange(5.0), np.empty(0), np.arange(3.0) - 7]
SIZE = sum(array.nbytes for array in ARRAYS)


@pytest.mark.parametrize("most", [SIZE, SIZE - 1])
def test_all_arrays_come_back(tmp_path, monkeypatch, most):
    monkeypatch.setattr(tempfiles.tempfile, "tempdir", str(tmp_path))
    kept = spill_to_disk(iter(ARRAYS), nbytes=SIZE, most=most)
    assert [list(array) for array in kept] == [list(array) for array in ARRAYS]
    assert [array.dtype for array in kept] == [np.float64] * 3
    assert all(array is given for array, given in zip(kept, ARRAYS, strict=True)) == (most == SIZE)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_full_disk_is_an_error(monkeypatch):
    monkeypatch.setattr(tempfiles.tempfile, "TemporaryFile", partial(open, "/dev/full", "w+b"))
    with pytest.raises(InputError, match=r"GiB cannot be kept there .*No space left.*TMPDIR"):
        spill_to_disk([np.zeros(100_000)], nbytes=800_000, most=0)
