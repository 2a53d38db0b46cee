"""Notebooks executed in a kernel of their own."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import PROJECT


def read(name):
    return nbformat.read(PROJECT / f"notebooks/{name}.ipynb", as_version=4)


def execute(notebook, folder, scratch, *, parameters):
    """Run it in a folder with other parameters; no kernel or setting of the user takes part."""
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    cell.source = parameters
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
            (scratch / name.lower()).mkdir(parents=True)
            patch.setenv(name, str(scratch / name.lower()))
        NotebookClient(
            notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        ).execute()
    return notebook


def shown(notebook, kind):
    return [
        output["data"][kind]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if kind in output.get("data", {})
    ]


def said(notebook):
    """What was written to the console."""
    return [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" not in output]
