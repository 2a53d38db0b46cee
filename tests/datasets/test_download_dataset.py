"""A download as a Kedro dataset: a request goes in, what was downloaded comes out."""

import json

import pytest
from kedro.io import DatasetError

from discrepancy.datasets import DownloadDataset
from discrepancy.download import SOURCES, DownloadRequest
from discrepancy.errors import InputError

MANIFEST = {
    "title": "BTAD",
    "citation": "theirs",
    "licence": {"name": "free"},
    "dataset": "btad",
    "categories": {"01": {"train": 1, "test": 1}},
}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "btad").mkdir()
    return tmp_path / "btad"


def test_what_was_not_downloaded_does_not_exist(root):
    dataset = DownloadDataset(path=str(root), dataset="btad")
    assert not dataset.exists() and dataset.preview() == "{}"
    with pytest.raises(DatasetError, match=str(root)):
        dataset.load()


@pytest.mark.parametrize("text", ["", "[]", "{}", '"btad"', "\x00"])
def test_an_unreadable_manifest_counts_as_none(root, text):
    (root / ".downloaded.json").write_text(text)
    assert not DownloadDataset(path=str(root), dataset="btad").exists()


def test_what_was_downloaded_is_told_with_its_folder(root, monkeypatch):
    (root / ".downloaded.json").write_text(json.dumps(MANIFEST))
    dataset = DownloadDataset(path=str(root), dataset="btad")
    assert dataset.exists() and dataset.load() == {**MANIFEST, "folder": root.as_posix()}
    assert json.loads(dataset.preview()) == MANIFEST
    monkeypatch.chdir(root.parent)
    assert dataset.load()["folder"] == "btad"
    dataset.save(DownloadRequest(SOURCES["btad"]))  # it is there: nothing happens


def test_a_request_for_another_data_set_is_refused(root):
    with pytest.raises(DatasetError, match="a request for visa: expected one for btad") as caught:
        DownloadDataset(path=str(root), dataset="btad").save(DownloadRequest(SOURCES["visa"]))
    assert isinstance(caught.value.__cause__, InputError) and list(root.parent.iterdir()) == [root]
