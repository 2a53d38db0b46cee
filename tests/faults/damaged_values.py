"""JSON, tensors, arrays and tables that hold something else than they should."""

from __future__ import annotations

import io
import json
import math
import struct

import numpy as np
import torch
from safetensors.torch import load, save

from tests.faults.damage import MARKER

VALUES = {
    "nothing": None,
    "true": True,
    "an empty text": "",
    "a text": "xyz",
    "-1": -1,
    "half": 0.5,
    "2^100": 2**100,
    "10^9": 10**9,
    "NaN": math.nan,
    "infinity": math.inf,
    "a list": [],
    "a list of lists": [[1], [2]],
    "a table": {},
    "a path upwards": "../../../etc/passwd",
    "an absolute path": "/etc/passwd",
    "a text of 5000 letters": "y" * 5000,
    "a text with a zero byte": "a\0b",
    "the home of nobody": "~nobody9/x",
}
GONE = object()


def places(value, above=()):
    """Every key of nested tables, as a tuple of the keys that lead there."""
    for key, below in value.items():
        yield (*above, key)
        if isinstance(below, dict):
            yield from places(below, (*above, key))


def with_value(place, value):
    """A damage of JSON: another value at a place, or none (`GONE`)."""

    def change(data):
        content = json.loads(data)
        table = content
        for key in place[:-1]:
            table = table[key]
        if value is GONE:
            del table[place[-1]]
        else:
            table[place[-1]] = value
        return json.dumps(content).encode()

    return change


JSON = {
    "a key that stands there twice": lambda data: data.replace(
        b"{", b'{"%s": 1, ' % next(iter(json.loads(data))).encode(), 1
    ),
    "a comma too many": lambda data: data.rstrip()[:-1] + b",}",
    "single quotes": lambda data: data.replace(b'"', b"'"),
    "a comment": lambda data: b"// of mine\n" + data,
    "a list of it": lambda data: b"[" + data + b"]",
    "it as a text": lambda data: json.dumps(data.decode()).encode(),
    "tables in tables": lambda data: b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "a number of 10,000 digits": lambda data: data.replace(b"{", b'{"surplus": ' + b"9" * 10_000 + b", ", 1),
    "lonely surrogates": lambda data: data.replace(b"{", b'{"surplus": "\\ud800", ', 1),
    "null": lambda data: b"null",
    "nothing in it": lambda data: b"{}",
}


def _of_state(change):
    """A damage of a safetensors file: of its tensors, by name."""

    def changed(data):
        state = load(data)
        result = change(state)
        return save(state if result is None else result)

    return changed


def _first(change, kind=torch.float32):
    def changed(state):
        name = next(name for name in sorted(state) if state[name].dtype == kind and state[name].ndim)
        state[name] = change(state[name]).contiguous()

    return _of_state(changed)


def _put(value):
    def change(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[-1] = value
        return tensor

    return change


def _exchanged(state):
    first, second = (sorted(state) * 2)[:2]  # a single one with itself
    return state | {first: state[second], second: state[first]}


TENSORS = {
    "NaN": _first(_put(math.nan)),
    "infinity": _first(_put(math.inf)),
    "minus infinity": _first(_put(-math.inf)),
    "another shape": _first(lambda tensor: torch.cat([tensor, tensor])),
    "one axis more": _first(lambda tensor: tensor[None]),
    "no axis": _first(lambda tensor: tensor.sum()),
    "no numbers": _first(lambda tensor: tensor[:0]),
    "double precision": _first(lambda tensor: tensor.double()),
    "bfloat16": _first(lambda tensor: tensor.bfloat16()),
    "whole numbers": _first(lambda tensor: tensor.long()),
    "truth values": _first(lambda tensor: tensor > 0),
    "complex numbers": _first(lambda tensor: tensor.to(torch.complex64)),
    "a tensor missing": _of_state(lambda state: {name: state[name] for name in sorted(state)[1:]}),
    "a tensor too many": _of_state(lambda state: state | {"surplus": torch.zeros(2)}),
    "a tensor with a path for a name": _of_state(lambda state: state | {"../../outside": torch.zeros(2)}),
    "two tensors exchanged": _of_state(_exchanged),
    "no tensors": _of_state(lambda state: {}),
}


def _header(text, length=None, body=bytes(64)):
    data = text.encode() if isinstance(text, str) else text
    return lambda _data: struct.pack("<Q", len(data) if length is None else length) + data + body


def _entry(kind="F32", shape="[4]", offsets="[0, 16]"):
    return f'{{"a": {{"dtype": "{kind}", "shape": {shape}, "data_offsets": {offsets}}}}}'


SAFETENSORS = {
    "a header of 2^60 bytes": _header("{}", 2**60),
    "a header of 2^63 bytes": _header("{}", 2**63),
    "a header of no bytes": _header("", 0),
    "a header longer than the file": _header("{}", 10_000),
    "a header that is no JSON": _header("not found"),
    "a header that is a list": _header("[]"),
    "a header of brackets": _header("[" * 100_000),
    "a shape of 2^60 numbers": _header(_entry(shape=f"[{2**60}]")),
    "a negative shape": _header(_entry(shape="[-4]")),
    "a shape that overflows": _header(_entry(shape=f"[{2**40}, {2**40}]")),
    "a type that nobody knows": _header(_entry(kind="F999")),
    "offsets beyond the end": _header(_entry(offsets="[0, 1000]")),
    "offsets backwards": _header(_entry(offsets="[16, 0]")),
    "a hole between tensors": _header(_entry(offsets="[8, 24]")),
    "a header of UTF-16": _header("{}".encode("utf-16")),
}


def _npy(descr="<f4", order="False", shape="(5, 4, 5, 3)", version=1, header=None, length=None):
    text = header or f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape}, }}"
    line = text.encode() + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(line) if length is None else length)
    return lambda _data: b"\x93NUMPY" + bytes([version, 0]) + size + line + bytes(1200)


NPY = {
    "an array of 10^12 rows": _npy(shape="(1000000000000, 4, 5, 3)"),
    "an array of 2^70 rows": _npy(shape=f"({2**70}, 4, 5, 3)"),
    "an array of negative rows": _npy(shape="(-5, 4, 5, 3)"),
    "an array of no axes": _npy(shape="()"),
    "an array of texts for a shape": _npy(shape="'many'"),
    "an array of objects": _npy(descr="|O"),
    "an array of big-endian numbers": _npy(descr=">f4"),
    "an array of whole numbers": _npy(descr="<i4"),
    "an array of an unknown type": _npy(descr="<q9"),
    "an array in Fortran's order": _npy(order="True"),
    "an array whose header is a program": _npy(header=f"__import__('os').system('touch {MARKER}')"),
    "an array whose header is a quote": _npy(header="{'descr': '"),
    "an array whose header is brackets": _npy(header="(" * 9000),
    "an array whose header lacks its shape": _npy(header="{'descr': '<f4', 'fortran_order': False}"),
    "an array whose header is too long": _npy(version=2, length=2**32 - 1),
    "an array of a later version": _npy(version=9),
}


def _of_pickle(change):
    """A damage of a PyTorch file: of what it holds."""

    def changed(data):
        content = torch.load(io.BytesIO(data), weights_only=True)
        result = change(content)
        file = io.BytesIO()
        torch.save(content if result is None else result, file)
        return file.getvalue()

    return changed


def _within(place, value):
    def change(state):
        table = state
        for key in place[:-1]:
            table = table[key]
        table[place[-1]] = value(table[place[-1]]) if callable(value) else value

    return _of_pickle(change)


def _without(place):
    def change(state):
        table = state
        for key in place[:-1]:
            table = table[key]
        del table[place[-1]]

    return _of_pickle(change)


_MOMENT = ("optimiser", "state", 0, "exp_avg")
CHECKPOINT = {
    "a list": _of_pickle(lambda state: [state["module"]["weight"]]),
    "a tensor": _of_pickle(lambda state: state["module"]["weight"]),
    "no module": _without(("module",)),
    "a module of nothing": _within(("module",), None),
    "a module of texts": _within(("module",), {"weight": "x", "bias": "y"}),
    "a module that lacks a tensor": _without(("module", "weight")),
    "a module with one tensor more": _within(("module",), lambda module: module | {"more": torch.zeros(1)}),
    "a module of another shape": _within(("module", "weight"), torch.zeros(9, 9)),
    "a module of another type": _within(("module", "weight"), lambda weight: weight.double()),
    "a module that is not finite": _within(("module", "bias"), lambda bias: bias * math.nan),
    "a sparse module": _within(("module", "weight"), lambda weight: weight.to_sparse()),
    "no optimiser": _without(("optimiser",)),
    "an optimiser of nothing": _within(("optimiser",), None),
    "an optimiser without moments": _without(("optimiser", "state")),
    "an optimiser with a list of moments": _within(("optimiser", "state"), []),
    "an optimiser with a parameter more": _within(("optimiser", "state"), lambda moments: moments | {7: moments[0]}),
    "a moment missing": _without(_MOMENT),
    "a moment of another shape": _within(_MOMENT, torch.zeros(9, 9)),
    "a moment that is a text": _within(_MOMENT, "x"),
    "a moment that is not finite": _within(_MOMENT, lambda moment: moment * math.inf),
    "no history": _without(("history",)),
    "a history of nothing": _within(("history",), None),
    "a history that is a number": _within(("history",), 7),
    "an empty history": _within(("history",), []),
    "a history of texts": _within(("history",), ["a", "b"]),
    "a history with a gap": _within(("history",), lambda history: history[1:]),
    "a history longer than the training": _within(("history",), lambda history: history * 9),
    "a history with another key": _within(("history", 0), lambda entry: entry | {"more": 1}),
    "a history that lacks a loss": _without(("history", 0, "loss")),
    "a loss that is a text": _within(("history", 0, "loss"), "low"),
    "a loss that is not finite": _within(("history", 0, "loss"), math.nan),
    "notes that are a list": _within(("history", 0, "noted"), [1]),
}
"""Of a checkpoint whose fingerprint is right."""


def _column(name, value):
    def change(data):
        header, *rows = [line.split(",") for line in data.decode().split()]
        index = header.index(name)
        rows[0][index] = value
        return "\n".join(",".join(row) for row in [header, *rows]).encode()

    return change


def _rows(change):
    def changed(data):
        header, *rows = data.decode().split()
        return "\n".join([header, *change(rows)]).encode()

    return changed


def _without_column(name):
    def change(data):
        rows = [line.split(",") for line in data.decode().split()]
        index = rows[0].index(name)
        return "\n".join(",".join(row[:index] + row[index + 1 :]) for row in rows).encode()

    return change


TABLE = {
    **{
        f"no column {name}": _without_column(name)
        for name in ("image", "mask", "split", "label", "defect", "width", "height", "sha256", "bit_depth")
    },
    "a column more": lambda data: "\n".join(f"{line},x" for line in data.decode().split()).encode(),
    "columns in another order": lambda data: "\n".join(
        ",".join(reversed(line.split(","))) for line in data.decode().split()
    ).encode(),
    "no rows": _rows(lambda rows: []),
    "rows of training alone": _rows(lambda rows: [row for row in rows if ",train," in row]),
    "rows of test alone": _rows(lambda rows: [row for row in rows if ",test," in row]),
    "no rows of test": _rows(lambda rows: [row for row in rows if ",test," not in row]),
    "splits mixed": _rows(lambda rows: rows[::-1]),
    "a row twice": _rows(lambda rows: [rows[0], *rows]),
    "a row cut short": _rows(lambda rows: [*rows[:-1], rows[-1][:20]]),
    "a row with commas too many": _rows(lambda rows: [*rows, rows[-1] + ",,,,"]),
    "a quote without end": _rows(lambda rows: ['"' + rows[0], *rows[1:]]),
    "no header": lambda data: b"\n".join(data.split()[1:]),
    "a path upwards": _column("image", "../../../etc/passwd"),
    "an absolute path": _column("image", "/etc/passwd"),
    "a mask upwards": _column("mask", "p/../../secret.png"),
    "an empty path": _column("image", ""),
    "an unknown split": _column("split", "holdout"),
    "a label of 2": _column("label", "2"),
    "a label that is a text": _column("label", "good"),
    "a width of 0": _column("width", "0"),
    "a width that is not whole": _column("width", "48.5"),
    "a height of 10^30": _column("height", "1" + "0" * 30),
    "a negative height": _column("height", "-40"),
    "a short digest": _column("sha256", "abc"),
    "an empty digest": _column("sha256", ""),
    "a depth that no file has": _column("bit_depth", "17"),
    "tabs in place of commas": lambda data: data.replace(b",", b"\t"),
    "semicolons in place of commas": lambda data: data.replace(b",", b";"),
}

YAML = {
    "a tab": b"dfc:\n\tepochs: 3\n",
    "a key that stands there twice": b"seed: 1\nseed: 2\n",
    "a list": b"- a\n- b\n",
    "a number": b"7\n",
    "a text": b"not found\n",
    "brackets without end": b"[" * 5000,
    "a colon too many": b"seed: a: b\n",
    "an object of Python": f"seed: !!python/object/apply:os.system ['touch {MARKER}']\n".encode(),
    "a name of Python": b"seed: !!python/name:os.system\n",
    "an unknown tag": b"seed: !secret x\n",
    "an anchor that is not there": b"seed: *gone\n",
    "an anchor of itself": b"seed: &a [*a]\n",
    "aliases of aliases": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(
        f"{name}: &{name} [{','.join(9 * [f'*{above}'])}]\n".encode() for above, name in zip("ab", "bc", strict=True)
    ),
    "a reference that is not there": b"seed: ${gone}\n",
    "a reference to itself": b"seed: ${seed}\n",
    "an unknown resolver": b"seed: ${nope:1}\n",
    "a reference without end": b"seed: ${globals:seed\n",
    "no UTF-8": b"category: \xff\xfe\n",
    "UTF-16": "category: cable\n".encode("utf-16"),
    "a zero byte": b"category: a\0b\n",
    "binary rubbish": np.random.default_rng(0).bytes(300),
}
