"""Freed blocks stay with the process where glibc is the C library, unless the user has chosen otherwise."""

import os
import platform
import subprocess
import sys

import pytest

from discrepancy.freed_memory import CHOICES

SYSTEM_CALLS = """
import ctypes, resource
import discrepancy
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(64 << 20)
    ctypes.memset(block, 1, 64 << 20)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""
"""A block of 64 MiB twice: pages that the system has to clear the second time."""

LIBRARY, RELEASE = platform.libc_ver()
glibc = pytest.mark.skipif(
    LIBRARY != "glibc" or tuple(map(int, RELEASE.split("."))) < (2, 35), reason="another C library, or an older one"
)


def faults(**chosen):
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES} | chosen
    found = subprocess.run(
        [sys.executable, "-c", SYSTEM_CALLS], env=environment, capture_output=True, text=True, check=True
    )
    return int(found.stdout)


@glibc
def test_the_next_array_takes_the_freed_memory():
    assert faults() < 100


@glibc
@pytest.mark.parametrize("chosen", [{"MALLOC_TOP_PAD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.perturb=0"}])
def test_a_choice_of_the_user_wins(chosen):
    assert faults(**chosen) > 1000
