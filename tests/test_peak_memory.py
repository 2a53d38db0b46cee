"""Peaks of memory: of this process, of those that it started, and of a GPU whose counters are known."""

import resource
import subprocess
import sys

import pytest
import torch

from discrepancy import peak_memory as module
from discrepancy.peak_memory import GPUPeak, leave_peak, peak_memory, reset_peaks, take_peaks


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that there are two GPUs whose memory was used like this."""
    allocated, reserved = [2**20, 5 * 2**20], [2 * 2**20, 8 * 2**20]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", allocated.__getitem__)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", reserved.__getitem__)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda gpu: allocated.__setitem__(gpu, 0))
    monkeypatch.setattr(module, "_children", [])


def test_it_is_that_of_the_gpu_that_was_used_whichever_its_number(gpus):
    found = peak_memory()
    assert found["peak_gpu_memory_mib"] == 5 and found["peak_gpu_reserved_mib"] == 8
    reset_peaks()
    assert peak_memory()["peak_gpu_memory_mib"] == 0


def test_processes_of_a_training_count_until_the_next_run(gpus, tmp_path, monkeypatch):
    leave_peak(tmp_path, "1")
    monkeypatch.setattr(GPUPeak, "of_process", classmethod(lambda kind: kind(7 * 2**20, 9 * 2**20)))
    leave_peak(tmp_path, "0")
    monkeypatch.setattr(GPUPeak, "of_process", classmethod(lambda kind: kind()))
    take_peaks(tmp_path)
    assert peak_memory()["peak_gpu_memory_mib"] == 7 and peak_memory()["peak_gpu_reserved_mib"] == 9
    reset_peaks()
    assert peak_memory()["peak_gpu_memory_mib"] == 0


def test_the_memory_of_a_larger_child_counts():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wanted = int(before) + 200
    subprocess.run([sys.executable, "-c", f"x = b'1' * ({wanted} << 20)"], check=True)
    assert peak_memory()["peak_memory_mib"] >= wanted
    if not torch.cuda.is_available():
        assert set(peak_memory()) == {"peak_memory_mib"}
