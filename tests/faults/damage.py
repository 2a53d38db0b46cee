"""Ways in which a file goes wrong: each a small function with a name, from what is right to what is not."""

from __future__ import annotations

import functools
import gzip
import io
import os
import pickle
import random
import zipfile

import numpy as np
import torch

MARKER = "executed"
"""Name of the file in the working directory that a trap makes when it is executed."""


class Trap:
    """Unpickling it makes the marker."""

    def __reduce__(self):
        return (os.system, (f"touch {MARKER}",))


def trap_of_pickle(_data=b""):
    return pickle.dumps({"method": Trap(), "fingerprint": Trap()})


def trap_of_torch(_data=b""):
    content = io.BytesIO()
    torch.save({"state_dict": Trap(), "fingerprint": Trap()}, content)
    return content.getvalue()


def trap_of_torch_in_the_old_form(_data=b""):
    content = io.BytesIO()
    torch.save({"state_dict": Trap()}, content, _use_new_zipfile_serialization=False)
    return content.getvalue()


def trap_of_numpy(_data=b""):
    content = io.BytesIO()
    np.save(content, np.array([Trap()], dtype=object), allow_pickle=True)
    return content.getvalue()


def trap_of_npz(_data=b""):
    content = io.BytesIO()
    np.savez(content, a=np.array([Trap()], dtype=object))
    return content.getvalue()


def _zipped(data):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("../../outside", data)
    return content.getvalue()


@functools.cache
def _bomb():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(20_000_000))
        archive.writestr("archive/version", "3\n")
    return content.getvalue()


def flipped(data, place, bit):
    """One bit turned; `place` is a share of the length, 0..1."""
    if not data:
        return data
    index = min(len(data) - 1, int(place * len(data)))
    return data[:index] + bytes([data[index] ^ 1 << bit]) + data[index + 1 :]


def _random(data):
    return random.Random(0).randbytes(len(data))


def _hole(data):
    third = len(data) // 3
    return data[:third] + bytes(len(data) - 2 * third) + data[len(data) - third :]


BYTES = {
    "empty": lambda data: b"",
    "one byte left": lambda data: data[:1],
    "four bytes left": lambda data: data[:4],
    "eight bytes left": lambda data: data[:8],
    "sixteen bytes left": lambda data: data[:16],
    "its first tenth": lambda data: data[: len(data) // 10],
    "its first half": lambda data: data[: len(data) // 2],
    "its last byte gone": lambda data: data[:-1],
    "its last twenty bytes gone": lambda data: data[:-20],
    "its first byte gone": lambda data: data[1:],
    "its second half": lambda data: data[len(data) // 2 :],
    "zeros": lambda data: bytes(len(data)),
    "ones": lambda data: b"\xff" * len(data),
    "a hole of zeros": _hole,
    "random bytes": _random,
    "another magic": lambda data: bytes(255 - byte for byte in data[:4]) + data[4:],
    "backwards": lambda data: data[::-1],
    "halves exchanged": lambda data: data[len(data) // 2 :] + data[: len(data) // 2],
    "twice in a row": lambda data: data + data,
    "rubbish behind it": lambda data: data + _random(b"." * 999),
    "a bit of its beginning": lambda data: flipped(data, 9 / max(9, len(data)), 3),
    "a bit at a fifth": lambda data: flipped(data, 0.2, 0),
    "a bit in the middle": lambda data: flipped(data, 0.5, 6),
    "a bit near the end": lambda data: flipped(data, 0.97, 7),
    "a text": lambda data: b"not found\n",
    "a web page": lambda data: b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n",
    "a shell script": lambda data: f"#!/bin/sh\ntouch {MARKER}\n".encode(),
    "a pointer of Git LFS": lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    "as text of UTF-16": lambda data: data.decode("latin-1").encode("utf-16"),
    "line ends of Windows": lambda data: data.replace(b"\n", b"\r\n"),
    "a mark of UTF-8 before it": lambda data: b"\xef\xbb\xbf" + data,
    "gzip of it": gzip.compress,
    "zip of it, leading out": _zipped,
    "a zip bomb": lambda data: _bomb(),
    "a pickle that executes": trap_of_pickle,
    "a PyTorch file that executes": trap_of_torch,
    "an old PyTorch file that executes": trap_of_torch_in_the_old_form,
    "a NumPy file that executes": trap_of_numpy,
    "a NumPy archive that executes": trap_of_npz,
    "a number": lambda data: b"1e999",
    "brackets without end": lambda data: b"[" * 100_000,
}


def _missing(path):
    path.unlink()


def _folder(path):
    path.unlink()
    path.mkdir()


def _full_folder(path):
    data = path.read_bytes()
    path.unlink()
    path.mkdir()
    (path / path.name).write_bytes(data)


def _dangling(path):
    path.unlink()
    path.symlink_to(path.parent / "gone")


def _loop(path):
    path.unlink()
    path.symlink_to(path)


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


def _device(path):
    path.unlink()
    path.symlink_to("/dev/null")


PLACES = {
    "missing": _missing,
    "a folder": _folder,
    "a folder with the file": _full_folder,
    "a link to nowhere": _dangling,
    "a link to itself": _loop,
    "a pipe": _pipe,
    "the null device": _device,
}


def whole(change):
    """A damage of bytes as a damage of the file at a path."""

    def apply(path):
        path.write_bytes(change(path.read_bytes()))

    return apply


ANY_FILE = {name: whole(change) for name, change in BYTES.items()} | PLACES
