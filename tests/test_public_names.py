"""`import discrepancy` is quick, and its public names are there when they are asked for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import discrepancy

LIMIT = 0.1  # seconds

SCRIPT = """
import json, sys, time
before = set(sys.modules)
begin = time.perf_counter()
import discrepancy
seconds = time.perf_counter() - begin
print(json.dumps([seconds, sorted(set(sys.modules) - before)]))
"""


def in_a_process(script):
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


def test_importing_the_package_is_quick_and_imports_no_library():
    measured = [in_a_process(SCRIPT) for _ in range(3)]  # of a busy machine the best time counts
    assert min(seconds for seconds, _ in measured) < LIMIT
    imported = {name.partition(".")[0] for name in measured[0][1]}
    assert imported <= {"discrepancy", *sys.stdlib_module_names}


@pytest.mark.parametrize("name", discrepancy.__all__)
def test_a_public_name_is_that_of_its_module(name):
    assert name in dir(discrepancy)
    found = getattr(discrepancy, name)
    assert found.__name__ == name and found is getattr(sys.modules[found.__module__], name)


def test_every_public_name_has_a_home():
    assert set(discrepancy._HOMES) == set(discrepancy.__all__)


def test_other_names_are_refused_and_submodules_found():
    with pytest.raises(AttributeError, match="module 'discrepancy' has no attribute 'load_detectr'"):
        _ = discrepancy.load_detectr
    from discrepancy import errors

    assert errors.__name__ == "discrepancy.errors"


def test_type_checkers_are_told_that_the_package_has_types():
    assert (Path(discrepancy.__file__).parent / "py.typed").is_file()
