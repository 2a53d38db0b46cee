"""Whole runs, through Kedro, on a part that takes seconds: what they leave on disk and in MLflow."""

import json
import shutil
import sqlite3
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from PIL import Image
from scipy.ndimage import gaussian_filter

from discrepancy.data.parameters import IngestionParameters
from discrepancy.data.samples import data_digest
from discrepancy.decisions.calibration import Calibration
from discrepancy.detection import load_method
from discrepancy.methods.card import Card
from discrepancy.metrics import aupro_as_published, auroc
from discrepancy.pipelines.scoring.parameters import ScoringParameters
from tests.conftest import WITHOUT_REPORT, make_project, run_method
from tests.naive_outlines import naive_outlines

QUICK = {"epochs": 12, "width": 24, "device": "cpu", "learning_rate": 3e-3}


def run(project, part, **changes):
    return run_method("dfc", project, part, **{**QUICK, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory, part):
    project = make_project(tmp_path_factory.mktemp("run") / "project")
    return project, run(project, part)


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of that project, for further runs."""
    return Path(shutil.copytree(finished[0], tmp_path / "copied"))


def report(project, version, name):
    return project / "data/08_reporting/folder/disc/dfc" / name / version / name


def test_the_report_lies_where_the_contract_says(finished):
    project, version = finished
    for name in ("gallery.png", "roc.png", "pro.png", "loss.png", "scores.png", "scores.csv", "table.csv"):
        assert report(project, version, name).stat().st_size > 0, name
    metrics = json.loads(report(project, version, "metrics.json").read_text())
    names = "image_auroc image_ap image_f1max pixel_auroc pixel_ap pixel_f1max aupro_0.30 aupro_0.05 best_iou"
    assert {*names.split(), "train_seconds", "images_per_second", "peak_memory_mib"} <= set(metrics)
    assert metrics["train_seconds"] > 0 and metrics["images_per_second"] > 0 and metrics["peak_memory_mib"] > 100


def test_every_test_image_has_its_three_pictures(finished, part):
    project, version = finished
    folder = report(project, version, "segmentations")
    stems = [f"{kind}/{i:03d}" for kind in ("good", "scratch") for i in range(3)]
    names = {f"{stem}_{kind}.png" for stem in stems for kind in ("score", "binary", "outline")}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")} == names
    maps = np.load(project / "data/07_model_output/folder/disc/dfc/maps.npy")
    entry = Card.read(json.loads(report(project, version, "card.json").read_text())).decision.pixel
    anomalous = pd.read_csv(report(project, version, "scores.csv"))["decision"] == "anomalous"
    assert set(anomalous) == {False, True}
    for stem, anomaly_map, found in zip(stems, maps, anomalous, strict=True):
        binary = np.asarray(Image.open(folder / f"{stem}_binary.png"))
        expected = np.where(naive_outlines(anomaly_map, entry, anomalous=found), 255, 0)
        assert np.mean(binary != expected) < 1e-3 and binary.any() == found
        outlined = np.asarray(Image.open(folder / f"{stem}_outline.png"))
        photograph = np.asarray(Image.open(part / f"disc/test/{stem}.png"))
        away = cv2.dilate(binary, np.ones((3, 3), np.uint8)) == 0  # the line is 2 px wide
        np.testing.assert_array_equal(outlined[away], photograph[away])


def test_it_found_the_scratches(finished):
    project, version = finished
    metrics = json.loads(report(project, version, "metrics.json").read_text())
    assert metrics["image_auroc"] == 1.0 and metrics["pixel_auroc"] > 0.95


def test_the_scores_are_those_of_the_saved_detector(finished):
    project, version = finished
    import torch

    detector = load_method(project / "data/06_models/folder/disc/dfc/detector" / version / "detector")
    images = np.load(project / "data/03_primary/folder/disc/images.npy", mmap_mode="r")
    maps = np.load(project / "data/07_model_output/folder/disc/dfc/maps.npy")
    scores = pd.read_csv(report(project, version, "scores.csv"))
    with torch.no_grad():
        expected = detector(torch.from_numpy(np.array(images[-6:])))
    np.testing.assert_allclose(maps, expected.numpy(), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(scores["score"], detector.image_scores(expected).numpy(), rtol=1e-3)
    assert list(scores["label"]) == [0, 0, 0, 1, 1, 1]
    threshold = detector.card.thresholds.image.value
    assert list(scores["decision"] == "anomalous") == list(scores["score"] > threshold)
    np.testing.assert_allclose(scores["relative_score"], scores["score"] / threshold)
    likely = detector.card.thresholds.image.calibration.false_alarm_probability(scores["score"])
    np.testing.assert_allclose(scores["false_alarm_probability"], likely)
    assert list(scores["false_alarm_probability"] < 0.01) == list(scores["score"] > threshold)
    metrics = json.loads(report(project, version, "metrics.json").read_text())
    assert metrics["image_auroc"] == auroc(scores["score"], scores["label"])


def test_thresholds_come_from_validation_images_alone(finished):
    project, version = finished
    detector = load_method(project / "data/06_models/folder/disc/dfc/detector" / version / "detector")
    maps = np.load(project / "data/07_model_output/folder/disc/dfc/validation_maps.npy")
    assert len(maps) == 5
    import torch

    scores = detector.image_scores(torch.from_numpy(maps)).numpy()
    image, pixel = detector.card.thresholds.image, detector.card.thresholds.pixel
    np.testing.assert_allclose(image.scores, scores, rtol=1e-5)
    assert image.value == pytest.approx(Calibration(scores, 0.01, "gumbel").threshold, rel=1e-4)
    assert image.value > scores.max() and image.rule == "gumbel" and image.outliers == []
    assert (image.images, image.target_fpr, image.expected_fpr) == (5, 0.01, 0.01)
    assert image.interval[0] < 0.01 < image.interval[1] and "from 5 held-out good images" in image.note
    # The image score is the mean of the smoothed map's highest values; regions are judged by their peak.
    assert (pixel.of, pixel.sigma) == ("images", detector.card.image_score.sigma)
    peaks = np.array([gaussian_filter(values.astype(float), pixel.sigma, mode="mirror").max() for values in maps])
    assert pixel.value == pytest.approx(Calibration(peaks, 0.01, "gumbel").threshold, rel=1e-3)
    assert pixel.low == pytest.approx((pixel.value + np.median(peaks)) / 2, rel=1e-3)


def test_the_card_tells_the_whole_story(finished, part):
    project, version = finished
    card = json.loads(
        (project / "data/06_models/folder/disc/dfc/detector" / version / "detector/card.json").read_text()
    )
    samples = pd.read_csv(project / "data/02_intermediate/folder/disc/samples.csv", keep_default_na=False)
    assert card["data_digest"] == data_digest(samples)
    assert card["images"] == {"train": 5, "validation": 5} and card["image_size"] == [96, 96]
    assert card["parameters"]["epochs"] == QUICK["epochs"] and "without blended images" in card["corruptions"]["note"]


def test_the_sample_table_follows_the_contract(finished):
    project, _ = finished
    samples = pd.read_csv(project / "data/02_intermediate/folder/disc/samples.csv", keep_default_na=False)
    columns = ["image", "mask", "split", "label", "defect", "width", "height", "sha256", "bit_depth"]
    assert list(samples.columns) == columns
    assert list(samples["split"]) == ["train"] * 5 + ["validation"] * 5 + ["test"] * 6
    masks = np.load(project / "data/03_primary/folder/disc/masks.npy")
    assert masks.dtype == bool and list(masks.any((1, 2))) == [False] * 3 + [True] * 3


def test_mlflow_heard_of_everything(finished):
    project, version = finished
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    (found,) = client.search_runs([client.get_experiment_by_name("discrepancy").experiment_id])
    assert found.info.status == "FINISHED" and found.data.tags["mlflow.runName"] == "dfc/disc"
    tags = {"dataset": "folder", "category": "disc", "method": "dfc", "backbone": "tf_efficientnet_lite0"}
    assert tags.items() <= found.data.tags.items() and len(found.data.tags["data_digest"]) == 64
    assert found.data.tags["kedro_run_id"] == version
    card = json.loads(report(project, version, "card.json").read_text())
    for name, value in card["parameters"].items():
        assert found.data.params[f"dfc.{name}"] == str(value), name
    assert (
        found.data.params["dfc.epochs"] == str(QUICK["epochs"])
        and found.data.params["scoring.false_positive_rate"] == "0.01"
    )
    metrics = json.loads(report(project, version, "metrics.json").read_text())
    for name in ("image_auroc", "aupro_0.30", "train_seconds"):
        assert found.data.metrics[name] == pytest.approx(metrics[name])
    losses = client.get_metric_history(found.info.run_id, "training/loss")
    assert sorted(point.step for point in losses) == list(range(1, QUICK["epochs"] + 1))
    with sqlite3.connect(project / "mlflow.db") as database:
        assert database.execute("select count(*) from runs").fetchone() == (1,)
    names = {item.path for item in client.list_artifacts(found.info.run_id)}
    assert {"figures", "scores.json", "table.json", "summary.txt"} <= names and len(found.outputs.model_outputs) == 1
    inside = {item.path for item in client.list_artifacts(found.info.run_id, "figures")}
    assert {"figures/gallery.png", "figures/roc.png", "figures/pro.png", "figures/loss.png"} <= inside


def test_a_second_run_takes_features_from_the_cache_and_equal_seeds_agree(finished, copied, part, caplog):
    project, first = copied, finished[1]
    caplog.set_level("INFO")
    second = run(project, part, stages=WITHOUT_REPORT)
    assert "from the cache" in caplog.text and "extracting" not in caplog.text
    one, two = (json.loads(report(project, v, "metrics.json").read_text()) for v in (first, second))
    timed = {"train_seconds", "images_per_second", "peak_memory_mib"}
    assert {k: v for k, v in one.items() if k not in timed} == {k: v for k, v in two.items() if k not in timed}
    assert not (project / "data/06_models/folder/disc/dfc/checkpoint.pt").exists()
    caplog.clear()
    run(project, part, stages=["ingestion", "training"], layers=["blocks.2"], epochs=1)
    assert "extracting" in caplog.text


def test_segmentations_can_be_left_out(copied, part, capsys, recwarn):
    project = copied
    place = "pictures     data/08_reporting/folder/disc/dfc/segmentations"
    version = run(project, part, stages=["reporting"])
    assert f"{place}/{version}/segmentations\n" in capsys.readouterr().out
    version = run(project, part, stages=["reporting"], reporting={"segmentations": False})
    said = capsys.readouterr()
    assert "gallery      data" in said.out and "pictures" not in said.out + said.err
    assert not [warning for warning in recwarn if "segmentations" in str(warning.message)]
    assert not list(report(project, version, "segmentations").rglob("*.png"))


def test_the_papers_approximation_of_the_aupro_is_there_if_asked_for(copied, part, capsys):
    project = copied
    stages = ["scoring", "reporting"]
    version = run(project, part, stages=stages, scoring={"papers_pro": True}, reporting={"segmentations": False})
    metrics = json.loads(report(project, version, "metrics.json").read_text())
    maps, masks = (
        np.load(project / f"data/{name}.npy")
        for name in ("07_model_output/folder/disc/dfc/maps", "03_primary/folder/disc/masks")
    )
    assert metrics["aupro_as_published"] == aupro_as_published(maps, masks) != metrics["aupro_0.30"]
    assert f"aupro_as_published {metrics['aupro_as_published']:.3f}" in capsys.readouterr().out


def test_without_masks_there_are_metrics_of_images_only(project, part, tmp_path, capsys):
    """Photographs of a user who has no masks: everything runs, and the report says what it lacks."""
    shutil.copytree(part / "disc", tmp_path / "photographs/disc")
    shutil.rmtree(tmp_path / "photographs/disc/ground_truth")
    without = {"epochs": 1, "reporting": {"segmentations": False}}
    version = run(project, tmp_path / "photographs", **without)
    assert "no defect is marked by a mask: metrics of images only\n" in capsys.readouterr().out
    metrics = json.loads(report(project, version, "metrics.json").read_text())
    assert metrics["image_auroc"] is not None and metrics["image_ap"] is not None
    for name in ("pixel_auroc", "pixel_ap", "pixel_f1max", "aupro_0.30", "aupro_0.05", "best_iou"):
        assert metrics[name] is None
    assert report(project, version, "gallery.png").is_file()


def test_every_dataset_of_every_pipeline_is_in_the_catalog_and_every_parameter_in_the_files(project):
    bootstrap_project(project)
    with KedroSession.create(project_path=project) as session:
        catalog = session.load_context().catalog  # made anew by each look
        for name in ("dfc", "dfr", "fod", "ingestion"):
            inputs = pipelines[name].inputs()
            assert {item for item in inputs if item.startswith("params:")} <= set(catalog.keys())
            for dataset in pipelines[name].datasets():
                assert dataset in catalog, dataset


def test_paper_settings_are_the_papers(project):
    bootstrap_project(project)
    with KedroSession.create(project_path=project, env="paper", runtime_params={"category": "wood"}) as session:
        params = session.load_context().params
    dfc = params["dfc"]
    dfc = dfc if isinstance(dfc, dict) else dfc.model_dump()
    from discrepancy.methods.dfc.parameters import DFCParameters

    parameters = DFCParameters.model_validate(dfc)
    assert parameters.backbone == "vgg19" and parameters.pooling == "avg" and parameters.estimator == "vgg19"
    assert parameters.layers_of("wood") == ["relu4_1", "relu4_2", "relu4_3", "relu4_4"]
    assert parameters.layers_of("cable") == ["relu4_3", "relu4_4", "relu5_1", "relu5_2"]
    training = parameters.training(examples=200)
    assert (training.epochs, training.batch_size, training.learning_rate) == (201, 8, 1e-4)
    assert (training.weight_decay, training.schedule) == (1e-6, "constant")
    assert not parameters.standardise and not parameters.by_position
    assert parameters.residuals == "raw" and parameters.align_corners
    assert parameters.stroke_margin == 40 and parameters.blocks == 4 and parameters.corrupted_weight == 1.0
    assert parameters.smoothing == parameters.image_smoothing == 0
    ingestion, scoring = IngestionParameters.model_validate(params["ingestion"]), params["scoring"]
    assert (ingestion.validation_fraction, ingestion.validation_minimum) == (0.05, 2)
    assert ScoringParameters.model_validate(scoring).segmentation == "pixels"


def test_the_papers_network_runs_end_to_end(project, part):
    """VGG19 of random weights, one epoch: what the paper's settings need is there and fits together."""
    small = {"epochs": 1, "batch_size": 2, "device": "cpu", "blocks": 1}
    version = run_method("dfc", project, part, env="paper", image_size=80, weights="random", **small)
    card = json.loads(report(project, version, "card.json").read_text())
    assert card["backbone"]["backbone"] == "vgg19" and card["backbone"]["pooling"] == "avg"
    assert card["backbone"]["layers"] == ["relu4_3", "relu4_4", "relu5_1", "relu5_2"]
    assert card["image_score"]["sigma"] == 0
    detector = load_method(project / "data/06_models/folder/disc/dfc/detector" / version / "detector")
    images = np.load(project / "data/03_primary/folder/disc/images.npy", mmap_mode="r")
    maps = np.load(project / "data/07_model_output/folder/disc/dfc/maps.npy")
    validation_maps = np.load(project / "data/07_model_output/folder/disc/dfc/validation_maps.npy")
    assert len(validation_maps) == 2
    pixels, threshold = np.sort(validation_maps.ravel()), detector.card.thresholds.pixel.value
    assert threshold in pixels and (pixels > threshold).mean() <= 0.01 < (pixels >= np.nextafter(threshold, -1)).mean()
    assert not detector.card.thresholds.pixel.segmentation.anomalous_only
    import torch

    highest = float(detector.image_scores(torch.from_numpy(validation_maps)).max())
    assert detector.card.thresholds.image.value == pytest.approx(highest)
    assert "Too few" in detector.card.thresholds.image.note
    with torch.no_grad():
        np.testing.assert_allclose(detector(torch.from_numpy(np.array(images[-1:])))[0].numpy(), maps[-1], rtol=1e-3)
