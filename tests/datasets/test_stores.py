"""Datasets behind an fsspec address: what is saved comes back, by version; those that need a disk say so."""

import json
import os
from contextlib import chdir

import fsspec
import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError, Version
from matplotlib.figure import Figure

from discrepancy.datasets import (
    ArrayDataset,
    BenchmarkDataset,
    CheckpointDataset,
    DetectorDataset,
    FeaturesDataset,
    FigureDataset,
    PageDataset,
    PhotographsDataset,
    PicturesDataset,
    SamplesDataset,
    TableDataset,
    TextDataset,
    ValuesDataset,
)
from discrepancy.datasets.origin import Origin
from discrepancy.errors import InputError
from discrepancy.stores import LocalFiles, files_of

TABLE = pd.DataFrame({"image": ["a", "b"], "score": [0.5, 1.0]})
FIGURE = Figure(figsize=(2, 1), dpi=50, facecolor=(1, 0, 0))
GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.fixture
def store():
    """An empty store in memory."""
    files = fsspec.filesystem("memory")
    empty(files)
    yield files
    empty(files)


def empty(files):
    files.store.clear()
    files.pseudo_dirs[:] = [""]


@pytest.fixture(params=["memory", "disk"])
def root(request, store, tmp_path):
    """The address of a folder."""
    return "memory:///bucket/run" if request.param == "memory" else str(tmp_path)


def contents(dataset):
    loaded = dataset.load()
    return loaded.to_dict("list") if isinstance(loaded, pd.DataFrame) else np.asarray(loaded).tolist()


DATASETS = [
    (TableDataset, "t.csv", TABLE, TABLE.to_dict("list")),
    (ValuesDataset, "v.json", {"image_auroc": 0.5}, {"image_auroc": 0.5}),
    (TextDataset, "t.txt", "Größe\n", "Größe\n"),
    (FigureDataset, "f.png", FIGURE, np.full((50, 100, 3), (255, 0, 0)).tolist()),
]


@pytest.mark.parametrize(("kind", "name", "data", "expected"), DATASETS)
@pytest.mark.parametrize("versioned", [False, True])
def test_what_is_saved_comes_back(root, kind, name, data, expected, versioned):
    def opened():
        return kind(filepath=f"{root}/{name}", version=Version(None, "v1") if versioned else None)

    dataset = opened()
    assert not dataset.exists()
    dataset.save(data)
    assert dataset.exists() and opened().exists()
    assert contents(dataset) == contents(opened()) == expected
    assert dataset.address == f"{root}/{name}{f'/v1/{name}' if versioned else ''}"


def test_the_newest_version_is_loaded_and_all_are_listed(root):
    def opened(load=None, save=None):
        return TextDataset(filepath=f"{root}/x.txt", version=Version(load, save))

    for version in ("2026-01-01", "2026-03-01", "2026-02-01"):
        opened(save=version).save(version)
    assert opened().list_versions(full_path=False) == ["2026-03-01", "2026-02-01", "2026-01-01"]
    assert opened().load() == "2026-03-01" and opened(load="2026-01-01").load() == "2026-01-01"
    with pytest.raises(DatasetError, match="must not exist"):
        opened(save="2026-01-01").save("again")


@pytest.mark.parametrize("version", [None, Version(None, "v1")])
def test_the_origin_is_kept_beside(root, version):
    def opened():
        return ValuesDataset(filepath=f"{root}/v.json", version=version)

    assert list(opened().found()) == []
    dataset = opened()
    dataset.origin = Origin("me", {"dfc": {"epochs": 3}}, {"samples": "abc"})
    dataset.save([1])
    ((found, origin),) = opened().found()
    assert found == (version and "v1") and origin == dataset.origin
    assert origin.parameters == {"dfc": {"epochs": 3}}


def test_an_unversioned_file_is_replaced(root):
    for text in ("first", "second"):
        TextDataset(filepath=f"{root}/x.txt").save(text)
        assert TextDataset(filepath=f"{root}/x.txt").load() == text


def test_an_error_leaves_the_old_file_and_nothing_else(root):
    dataset = ValuesDataset(filepath=f"{root}/v.json")
    dataset.save({"a": 1})
    with pytest.raises(DatasetError):
        ValuesDataset(filepath=f"{root}/v.json").save({"a": object()})
    files, path = files_of(root)
    assert ValuesDataset(filepath=f"{root}/v.json").load() == {"a": 1}
    assert [found.name for found in files.find(path)] == ["v.json"]


def test_pictures_are_loaded_as_addresses_that_open(root):
    def opened(version):
        return PicturesDataset(filepath=f"{root}/p", version=Version(None, version))

    opened("v1").save([("b/Größe 1.png", GREY), ("a.png", GREY)])
    loaded = opened("v1").load()
    assert list(loaded) == ["a.png", "b/Größe 1.png"] and loaded["a.png"] == f"{root}/p/v1/p/a.png"
    with fsspec.open(loaded["b/Größe 1.png"], "rb") as file:
        assert file.read(4) == b"\x89PNG"
    opened("v2").save([])  # no pictures hide the older ones
    assert opened("v3").load() == {}


def test_what_finds_a_version_is_put_last(store, monkeypatch):
    put = []
    monkeypatch.setattr(type(store), "put_file", lambda self, local, remote: put.append(remote))
    dataset = ValuesDataset(filepath="memory://bucket/a.json", version=Version(None, "v1"))
    dataset.origin = Origin("me")
    dataset.save([1])  # whose name comes before that of the note
    assert put == ["/bucket/a.json/v1/origin.json", "/bucket/a.json/v1/a.json"]


def test_a_detector_that_is_there_in_part_is_no_detector(store):
    dataset = DetectorDataset(filepath="memory://bucket/detector")
    store.pipe("/bucket/detector/card.json", b"{}")
    assert not dataset.exists()
    store.pipe("/bucket/detector/weights.safetensors", b"")
    assert dataset.exists()


def test_what_others_have_written_is_seen_after_a_release(store, monkeypatch):
    forgotten = []
    monkeypatch.setattr(type(store), "invalidate_cache", lambda self, path=None: forgotten.append(path))
    TextDataset(filepath="memory://bucket/x.txt").release()
    assert forgotten == [None]


def test_the_catalog_gives_credentials_and_arguments(store):
    entry = {"type": "discrepancy.datasets.TextDataset", "filepath": "memory://bucket/x.txt", "versioned": True}
    entry |= {"credentials": "mine", "fs_args": {"use_listings_cache": False}}
    catalog = DataCatalog.from_config({"x": entry}, {"mine": {"key": "secret"}}, save_version="v1")
    catalog.save("x", "hello")
    assert catalog.load("x") == "hello" and "secret" not in str(catalog.get("x"))
    assert catalog.get("x")._files._files.storage_options == {"key": "secret", "use_listings_cache": False}


LOCAL = [
    (ArrayDataset, {"filepath": "s3://b/x.npy"}),
    (FeaturesDataset, {"filepath": "f.json", "path": "gs://b/cache"}),
    (FeaturesDataset, {"filepath": "gs://b/f.json", "path": "cache"}),
    (CheckpointDataset, {"filepath": "memory://b/c.pt"}),
    (BenchmarkDataset, {"path": "memory://b"}),
    (PageDataset, {"path": "memory://b"}),
    (PhotographsDataset, {"path": "s3://photos", "dataset": "folder", "category": "disc"}),
]


@pytest.mark.parametrize(("kind", "options"), LOCAL)
def test_what_needs_a_disk_says_so_in_one_sentence(kind, options):
    with pytest.raises(InputError, match=r"^\w+://[^;]*; expected a path on this machine or on a network folder$"):
        kind(**options)


@pytest.mark.parametrize("address", ["nonsense://b/x.txt", "https://example.org/x.txt"])
def test_addresses_that_cannot_be_used_are_named(address):
    with pytest.raises(InputError, match=f"^{address}: .*expected a path"):
        TextDataset(filepath=address)


def test_local_paths_do_not_go_through_fsspec(tmp_path):
    for address in (str(tmp_path / "x.txt"), f"file://{tmp_path}/x.txt"):
        files, path = files_of(address)
        assert isinstance(files, LocalFiles) and os.fspath(path) == str(tmp_path / "x.txt")
    with chdir(tmp_path):
        TextDataset(filepath="a/x.txt").save("here")
    assert (tmp_path / "a/x.txt").read_text() == "here"


def test_samples_behind_an_address_are_looked_at(store):
    store.pipe("/bucket/samples.csv", b"image\nx\n")
    with pytest.raises(DatasetError, match=r"samples\.csv"):
        SamplesDataset(filepath="memory://bucket/samples.csv").load()


def test_previews_read_from_the_store(store):
    figure = FigureDataset(filepath="memory://bucket/f.png")
    figure.save(FIGURE)
    assert len(figure.preview()) > 50
    values = ValuesDataset(filepath="memory://bucket/v.json")
    values.save({"a": 1})
    assert json.loads(values.preview()) == {"a": 1}
