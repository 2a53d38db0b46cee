"""Our Kedro datasets: what is saved comes back, a crash leaves the old file, large arrays stay on disk."""

import json

import numpy as np
import pytest
from kedro.io import DatasetError, Version
from matplotlib.figure import Figure

from discrepancy.data.lazy_array import LazyArray
from discrepancy.datasets import (
    ArrayDataset,
    CheckpointDataset,
    FeaturesDataset,
    FigureDataset,
    PhotographsDataset,
)
from discrepancy.features.backbones import build_backbone
from discrepancy.features.recipe import lazy_features
from tests.conftest import write_part


def pieces(fail_after=None):
    for i in range(3):
        if i == fail_after:
            raise RuntimeError("torn")
        yield np.full((2, 4), i, np.float32)


def recipe(**options):
    return LazyArray((6, 4), np.dtype(np.float32), lambda: pieces(**options))


def test_an_array_is_written_in_pieces_and_read_memory_mapped(tmp_path):
    dataset = ArrayDataset(filepath=str(tmp_path / "a/x.npy"))
    assert not dataset.exists()
    dataset.save(recipe())
    array = dataset.load()
    assert dataset.exists() and isinstance(array, np.memmap) and not array.flags.writeable
    np.testing.assert_array_equal(array, np.repeat([0, 1, 2], 2)[:, None] * np.ones((1, 4)))
    assert json.loads(dataset.preview()) == {
        "shape": [6, 4], "dtype": "float32", "first_minimum": 0.0, "first_maximum": 0.0,
    }  # fmt: skip
    dataset.save(np.zeros((0, 3, 3), np.float32))
    assert dataset.load().shape == (0, 3, 3)


def test_a_torn_array_leaves_the_old_one(tmp_path):
    dataset = ArrayDataset(filepath=str(tmp_path / "x.npy"))
    dataset.save(np.arange(3))
    with pytest.raises(DatasetError, match="torn"):
        dataset.save(recipe(fail_after=2))
    np.testing.assert_array_equal(dataset.load(), np.arange(3))
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def test_features_are_computed_on_saving_and_found_on_loading(tmp_path):
    dataset = FeaturesDataset(filepath=str(tmp_path / "f.json"), path=str(tmp_path / "cache"))
    assert not dataset.exists()
    backbone = build_backbone("tf_efficientnet_lite0", layers=["blocks.2"], weights="random")
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64), dtype=np.uint8)
    dataset.save(lazy_features(backbone, images, ["a", "b", "c"]))
    features = dataset.load()
    import torch

    expected = backbone(torch.from_numpy(images))["blocks.2"].numpy()
    np.testing.assert_allclose(features["blocks.2"], expected, rtol=1e-4, atol=1e-4)
    assert dataset.exists() and json.loads(dataset.preview())["layers"] == {"blocks.2": [3, 40, 8, 8]}
    with pytest.raises(DatasetError, match="LazyFeatures"):
        dataset.save(images)


def test_a_figure_comes_back_as_the_picture_that_was_drawn(tmp_path):
    dataset = FigureDataset(filepath=str(tmp_path / "x.png"), version=Version(None, "v1"))
    figure = Figure(figsize=(2, 1), dpi=50, facecolor=(1, 0, 0))
    dataset.save(figure)
    picture = dataset.load()
    assert picture.shape == (50, 100, 3) and (picture == (255, 0, 0)).all()
    assert dataset.exists() and len(dataset.preview()) > 50
    assert not FigureDataset(filepath=str(tmp_path / "y.png"), version=Version(None, None)).exists()


def test_photographs_are_read_and_not_written(tmp_path):
    write_part(tmp_path / "disc")
    dataset = PhotographsDataset(path=str(tmp_path), dataset="folder", category="disc")
    photographs = dataset.load()
    assert len(photographs.samples) == 16 and photographs.root == tmp_path and dataset.exists()
    with pytest.raises(DatasetError, match="read only"):
        dataset.save(photographs)


def test_the_demo_category_is_rendered_when_it_is_missing(tmp_path, monkeypatch):
    asked = []

    def render(root, category):
        asked.append(category)
        write_part(root / category)

    monkeypatch.setattr("discrepancy.data.photographs.render_category", render)
    photographs = PhotographsDataset(path=str(tmp_path), dataset="demo", category="cable").load()
    assert asked == ["cable"] and set(photographs.samples["split"]) == {"train", "test"}


def test_a_checkpoint_is_a_path_that_can_be_cleared(tmp_path):
    dataset = CheckpointDataset(filepath=str(tmp_path / "c.pt"))
    path = dataset.load()
    path.write_bytes(b"x")
    dataset.clear()
    assert path == tmp_path / "c.pt" and path.exists()  # not that of a training which has ended
    dataset.finish()
    path.unlink()
    path.write_bytes(b"of another run")
    dataset.clear()
    assert path.exists()
    dataset.finish()
    dataset.clear()
    assert not path.exists()
    with pytest.raises(DatasetError):
        dataset.save(path)


def test_a_checkpoint_that_later_steps_read_is_cleared_all_the_same(tmp_path):
    """And one that no step of this run has written is kept."""
    dataset = CheckpointDataset(filepath=str(tmp_path / "c.pt"))
    dataset.load().write_bytes(b"x")
    dataset.finish()
    dataset.load()  # for the folds of cross-fitting
    dataset.finish()
    dataset.clear()
    assert not (tmp_path / "c.pt").exists()
    (tmp_path / "c.pt").write_bytes(b"of another run")
    another = CheckpointDataset(filepath=str(tmp_path / "c.pt"))
    another.load()
    another.finish()
    another.clear()
    assert (tmp_path / "c.pt").exists()
