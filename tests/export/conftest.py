"""A small detector, photographs, and its bundle."""

import pytest

from discrepancy.export.bundle import bundle_files, write_bundle
from discrepancy.export.graph import onnx_graph
from tests.prediction.conftest import detector, method, photos  # noqa: F401
from tests.tiny import backbone, features, good_images  # noqa: F401


@pytest.fixture(scope="session")
def graph(method):  # noqa: F811
    return onnx_graph(method)


@pytest.fixture
def bundle_folder(detector, graph, tmp_path):  # noqa: F811
    write_bundle(bundle_files(detector, graph), tmp_path / "bundle")
    return tmp_path / "bundle"
