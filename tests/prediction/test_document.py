"""The examples of docs/predict.md run, and say what the document says."""

import doctest
import shutil
from contextlib import chdir
from pathlib import Path

from discrepancy.detection.storage import save_method

DOCUMENT = Path(__file__).parents[2] / "docs/predict.md"


def test_the_examples(detector, photos, tmp_path):
    save_method(detector.method, tmp_path / "detector")
    shutil.copytree(photos, tmp_path / "photos")
    with chdir(tmp_path):
        failed, tried = doctest.testfile(str(DOCUMENT), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert (failed, tried >= 16) == (0, True)
    assert (tmp_path / "results/predictions.csv").is_file()
