"""Notebooks are stored without outputs."""

import nbformat
import pytest

from tests.conftest import PROJECT
from tests.notebooks.execution import read

NAMES = sorted(path.stem for path in (PROJECT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_stored_without_outputs(name):
    notebook = read(name)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and all(cell.outputs == [] and cell.execution_count is None for cell in code)
