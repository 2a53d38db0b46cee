"""DFR's whole run, through Kedro, on a part that takes seconds, and the paper's presets."""

import json
from contextlib import chdir

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from discrepancy.cli import run as run_command
from discrepancy.data.parameters import IngestionParameters
from discrepancy.detection import load_method
from discrepancy.errors import InputError
from discrepancy.features.cache import FeatureCache
from discrepancy.methods.dfr.model import DFR
from discrepancy.methods.dfr.parameters import DEFAULT_LAYERS, DFRParameters
from discrepancy.pipelines.training.nodes import train
from tests.conftest import WITHOUT_REPORT, make_project, run_method

QUICK = {"epochs": 10, "device": "cpu"}
COSTS = {"train_seconds", "images_per_second", "peak_memory_mib"}


def run(project, part, **changes):
    return run_method("dfr", project, part, **{**QUICK, **changes})


def load(project, version, name):
    path = project / "data/08_reporting/folder/disc/dfr" / name / version / name
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, part):
    project = make_project(tmp_path_factory.mktemp("run") / "project")
    return project, run(project, part)


def test_it_found_the_scratches(finished):
    metrics = load(*finished, "metrics.json")
    assert metrics["image_auroc"] == 1.0
    assert metrics["pixel_auroc"] > 0.95 and metrics["aupro_0.30"] > 0.8


def test_the_latent_dimension_is_on_disk_on_the_card_and_in_mlflow(finished):
    project, version = finished
    latent = json.loads((project / "data/06_models/folder/disc/dfr/latent.json").read_text())
    assert 0.90 < latent["explained"] < 0.95 and latent["channels"] == 272
    assert latent["vectors"] == 5 * 12 * 12  # of ten training images five are held out
    card = load(project, version, "card.json")
    assert card["latent_dim"] == latent["dimension"] and card["method"] == "dfr"
    mlflow.set_tracking_uri(f"sqlite:///{project / 'mlflow.db'}")
    (logged,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert logged.data.metrics["latent/dimension"] == latent["dimension"]
    assert logged.data.params["dfr.region"] == "8" and logged.data.tags["method"] == "dfr"


def test_a_run_from_the_middle_refuses_another_runs_latent_dimension(finished, part):
    project, _ = finished
    bootstrap_project(project)
    params = (
        f"dataset=folder,data_root={part},category=disc,image_size=96,dfr.epochs={QUICK['epochs']},dfr.device=cpu,"
        "dfr.latent_dim=5"
    )
    with chdir(project):
        result = CliRunner().invoke(
            run_command, ["--pipelines=dfr", "--from-nodes=training.dfr.train", f"--params={params}"]
        )
    assert result.exit_code == 1 and "made with dfr.latent_dim=None, this run has 5" in result.output


def test_training_refuses_another_runs_latent_dimension(finished, tmp_path):
    project, version = finished
    card = load(project, version, "card.json")
    samples = pd.read_csv(project / "data/02_intermediate/folder/disc/samples.csv", keep_default_na=False)
    entry = json.loads((project / "data/04_feature/folder/disc/dfr.json").read_text())
    features = FeatureCache(project / "data/04_feature/cache").open(entry["fingerprint"])
    latent = json.loads((project / "data/06_models/folder/disc/dfr/latent.json").read_text())
    images = np.load(project / "data/03_primary/folder/disc/images.npy", mmap_mode="r")
    parameters = DFRParameters.model_validate(card["parameters"])
    ingestion = IngestionParameters(dataset="folder", category="disc", image_size=96)
    with pytest.raises(InputError, match=r"latent dimension on disk .*--from-nodes"):
        others = latent | {"features": "of others"}
        train(DFR, images, samples, features, tmp_path / "c.pt", parameters, ingestion, others)


def test_the_saved_detector_draws_the_maps(finished):
    project, version = finished
    detector = load_method(project / "data/06_models/folder/disc/dfr/detector" / version / "detector")
    images = np.load(project / "data/03_primary/folder/disc/images.npy", mmap_mode="r")
    maps = np.load(project / "data/07_model_output/folder/disc/dfr/maps.npy")
    with torch.inference_mode():
        drawn = detector(torch.from_numpy(np.array(images[-len(maps) :])))
    np.testing.assert_allclose(drawn.numpy(), maps, rtol=1e-4, atol=1e-5)


def test_equal_seeds_give_equal_metrics_and_others_do_not(finished, part, tmp_path):
    project, version = finished
    first = load(project, version, "metrics.json")
    again = make_project(tmp_path / "again")
    second = load(again, run(again, part, stages=WITHOUT_REPORT), "metrics.json")
    other = load(again, run(again, part, stages=WITHOUT_REPORT, seed=1), "metrics.json")
    assert {k: v for k, v in first.items() if k not in COSTS} == {k: v for k, v in second.items() if k not in COSTS}
    assert first["pixel_ap"] != other["pixel_ap"]


def preset(project, name):
    bootstrap_project(project)
    parameters = {"preset": name} if name else {}
    with KedroSession.create(project_path=project, env="paper", runtime_params=parameters) as session:
        group = session.load_context().params["dfr"]
    return DFRParameters.model_validate(group if isinstance(group, dict) else group.model_dump())


@pytest.mark.parametrize(
    ("name", "layers", "alignment", "batch_norm", "epochs"),
    [
        (None, 16, "nearest", False, 700),
        ("paper", 16, "nearest", False, 700),
        ("paper_12", 12, "nearest", False, 700),
        ("head", 12, "bilinear_corners", True, 150),
        ("efficientnet_b6", 16, "nearest", False, 700),  # of FOD
    ],
)
def test_presets_are_the_papers(project, name, layers, alignment, batch_norm, epochs):
    parameters = preset(project, name)
    assert parameters.layers == [*DEFAULT_LAYERS["vgg19"], "relu5_1", "relu5_2", "relu5_3", "relu5_4"][:layers]
    assert (parameters.backbone, parameters.pooling, parameters.padding) == ("vgg19", "max", "reflect")
    assert (parameters.alignment, parameters.batch_norm, parameters.epochs) == (alignment, batch_norm, epochs)
    assert (parameters.region, parameters.padded_maps, parameters.standardise) == (4, name == "head", False)
    assert (parameters.explained_variance, parameters.variance_images, parameters.latent_dim) == (0.9, 10, None)
    training = parameters.training(examples=200)
    assert (training.batch_size, training.learning_rate, training.weight_decay) == (4, 1e-4, 0)
    assert (training.schedule, training.precision, parameters.cache_dtype) == ("constant", "fp32", "float32")
    assert (parameters.residuals, parameters.by_position, parameters.align_corners) == ("raw", False, True)
    assert parameters.smoothing == parameters.image_smoothing == 0


@pytest.mark.parametrize("name", ["paper", "head"])
def test_the_papers_network_runs_end_to_end(project, part, name):
    """VGG19 of random weights, one epoch: what the presets need is there and fits together."""
    version = run(project, part, env="paper", preset=name, image_size=48, weights="random", epochs=1, latent_dim=8)
    card = load(project, version, "card.json")
    assert card["backbone"]["backbone"] == "vgg19" and card["backbone"]["pooling"] == "max"
    assert card["image_score"] == {"rule": "maximum of the anomaly map", "sigma": 0.0, "share": 0.0}
    path = project / "data/06_models/folder/disc/dfr/detector" / version / "detector"
    widths = load_method(path, weights="random").autoencoder.widths
    channels = {"paper": 5504, "head": 3456}[name]
    assert widths == (channels, (channels + 16) // 2, 16, 8, 16, (channels + 16) // 2, channels)
