"""FOD's whole run, through Kedro, on a part that takes seconds, and the paper's settings."""

import json
import logging
from contextlib import chdir

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from PIL import Image

from discrepancy.cli import run as run_command
from discrepancy.data.parameters import IngestionParameters
from discrepancy.detection import load_method
from discrepancy.detection.scoring import ScoredMaps
from discrepancy.errors import InputError
from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.weights import PUBLISHED
from discrepancy.methods.base import new_card
from discrepancy.methods.fod.correlation_figure import choose_patches
from discrepancy.methods.fod.model import FOD
from discrepancy.methods.fod.oracle import best_epoch_on_test
from discrepancy.methods.fod.parameters import DEFAULT_LAYERS, FODParameters
from discrepancy.methods.fod.pictures import draw_correlations
from discrepancy.pipelines.training.nodes import train
from tests.conftest import WITHOUT_REPORT, make_project, run_method

QUICK = {"epochs": 6, "widths": [32, 32], "heads": 2, "device": "cpu"}
COSTS = {"train_seconds", "images_per_second", "peak_memory_mib"}


def run(project, part, **changes):
    return run_method("fod", project, part, **{**QUICK, **changes})


def report(project, version, name):
    return project / "data/08_reporting/folder/disc/fod" / name / version / name


def load(project, version, name):
    return json.loads(report(project, version, name).read_text(encoding="utf-8"))


def weights(project, version):
    folder = project / "data/06_models/folder/disc/fod/detector" / version / "detector"
    return load_method(folder).trained_state()


def metrics_of(project, version):
    mlflow.set_tracking_uri(f"sqlite:///{project / 'mlflow.db'}")
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    (found,) = [one for one in runs if one.data.tags["kedro_run_id"] == version]
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory, part):
    project = make_project(tmp_path_factory.mktemp("run") / "project")
    return project, run(project, part)


def test_it_found_the_scratches(finished):
    metrics = load(*finished, "metrics.json")
    assert metrics["image_auroc"] == 1.0
    assert metrics["pixel_auroc"] > 0.9 and metrics["aupro_0.30"] > 0.7


def test_the_card_says_what_was_built_and_how_it_scores(finished):
    card = load(*finished, "card.json")
    assert card["method"] == "fod" and "no skip connection" in card["model"]
    assert card["score"].startswith("whitened squared error + 1 - cosine; ") and card["pixel_metrics"] == "on raw maps"
    assert card["image_score"] == {
        "rule": "mean of the highest 0.01 of the values of the anomaly map, smoothed by a Gaussian of sigma 4 px",
        "sigma": 4.0,
        "share": 0.01,
    }


def test_the_game_is_in_the_history_and_in_mlflow(finished):
    project, version = finished
    path = project / "data/06_models/folder/disc/fod/history.csv" / version / "history.csv"
    history = pd.read_csv(path)
    names = {f"{branch}_{amount}" for branch in ("intra", "inter") for amount in ("divergence", "entropy")}
    assert names <= set(history.columns) and len(history) == QUICK["epochs"]
    logged = metrics_of(project, version).data.metrics
    assert logged["training/inter_entropy"] == pytest.approx(history["inter_entropy"].iloc[-1])
    assert not [name for name in logged if name.startswith("training/") and "oracle" in name]


def test_the_correlations_are_drawn_and_in_mlflow(finished, part):
    project, version = finished
    with Image.open(report(project, version, "correlation.png")) as picture:
        assert picture.width == 1100 and picture.height > 600
    run_id = metrics_of(project, version).info.run_id
    names = [entry.path for entry in mlflow.MlflowClient().list_artifacts(run_id, "figures")]
    assert "figures/correlation.png" in names


def test_the_reference_is_a_step_of_its_own_and_cached(finished, part, caplog):
    project, _ = finished
    entry = json.loads((project / "data/04_feature/folder/disc/fod_reference.json").read_text())
    assert entry["images"] == 1 and entry["layers"] == {"blocks.2": [1, 40, 12, 12], "blocks.4": [1, 112, 6, 6]}
    with caplog.at_level(logging.INFO, logger="discrepancy"):
        run(project, part, stages=["ingestion", "training"], epochs=1)
    assert f"1 images from the cache {project / 'data/04_feature/cache' / entry['folder']}" in caplog.text


def test_the_saved_detector_draws_the_maps(part, tmp_path):
    project = make_project(tmp_path / "project")
    version = run(project, part, stages=WITHOUT_REPORT, epochs=1, correlation="auto")
    detector = load_method(project / "data/06_models/folder/disc/fod/detector" / version / "detector")
    images = np.load(project / "data/03_primary/folder/disc/images.npy", mmap_mode="r")
    maps = np.load(project / "data/07_model_output/folder/disc/fod/maps.npy")
    with torch.inference_mode():
        drawn = detector(torch.from_numpy(np.array(images[-len(maps) :])))
    np.testing.assert_allclose(drawn.numpy(), maps, rtol=1e-3, atol=1e-5)


def test_equal_seeds_give_equal_metrics_and_the_oracle_changes_nothing(finished, part, tmp_path):
    """It trains once more and looks at the test images; the detector and its metrics are those without it."""
    project, version = finished
    first = load(project, version, "metrics.json")
    again = make_project(tmp_path / "again")
    asked = run(again, part, stages=WITHOUT_REPORT, oracle=True)
    second = load(again, asked, "metrics.json")
    assert {k: v for k, v in first.items() if k not in COSTS} == {k: v for k, v in second.items() if k not in COSTS}
    theirs = weights(again, asked)
    assert all(torch.equal(value, theirs[name]) for name, value in weights(project, version).items())

    found = load(again, asked, "oracle.json")
    assert load(project, version, "oracle.json") == {}
    assert set(found) == {f"oracle_{name}_auroc{end}" for name in ("image", "pixel") for end in ("", "_epoch")}
    assert (
        found["oracle_pixel_auroc"] >= second["pixel_auroc"]
        and 1 <= found["oracle_pixel_auroc_epoch"] <= QUICK["epochs"]
    )
    logged = metrics_of(again, asked).data.metrics
    assert logged["oracle_pixel_auroc"] == found["oracle_pixel_auroc"]
    assert not (again / "data/06_models/folder/disc/fod/oracle_checkpoint.pt").exists()  # the run ended well

    other = load(again, run(again, part, stages=WITHOUT_REPORT, seed=1), "metrics.json")
    assert first["pixel_ap"] != other["pixel_ap"]


def refused(project, part, *arguments, **parameters):
    bootstrap_project(project)
    given = {"dataset": "folder", "data_root": part, "category": "disc", "image_size": 96, "fod.device": "cpu"}
    given |= {"fod.epochs": 1, "fod.widths": "32+32", "fod.heads": 2, **parameters}
    text = ",".join(f"{name}={value}" for name, value in given.items())
    with chdir(project):
        result = CliRunner().invoke(run_command, ["--pipelines=fod", f"--params={text}", *arguments])
    assert result.exit_code == 1
    return result.output


def test_a_run_from_the_middle_refuses_another_runs_reference(finished, part):
    project, _ = finished
    path = project / "data/04_feature/folder/disc/fod_reference.json"
    kept = path.read_text()
    try:
        path.write_text((project / "data/04_feature/folder/disc/fod.json").read_text())
        message = refused(project, part, "--from-nodes=training.fod.train")
    finally:
        path.write_text(kept)
    assert "fod.reference on disk: what it was made from is not known" in message


def test_training_refuses_another_runs_reference(finished, tmp_path):
    project, version = finished
    samples = pd.read_csv(project / "data/02_intermediate/folder/disc/samples.csv", keep_default_na=False)
    entry = json.loads((project / "data/04_feature/folder/disc/fod.json").read_text())
    features = FeatureCache(project / "data/04_feature/cache").open(entry["fingerprint"])
    images = np.load(project / "data/03_primary/folder/disc/images.npy", mmap_mode="r")
    parameters = FODParameters.model_validate(load(project, version, "card.json")["parameters"])
    ingestion = IngestionParameters(dataset="folder", category="disc", image_size=96)
    with pytest.raises(InputError, match=r"mean normal image on disk .*--from-nodes"):
        train(FOD, images, samples, features, tmp_path / "c.pt", parameters, ingestion, features)


def drawn(finished, masks=None, **changes):
    """`draw_correlations` on what a run left on disk."""
    project, version = finished
    folder = project / "data"
    detector = load_method(folder / "06_models/folder/disc/fod/detector" / version / "detector")
    images = np.load(folder / "03_primary/folder/disc/images.npy")
    masks = np.load(folder / "03_primary/folder/disc/masks.npy") if masks is None else masks
    maps = np.load(folder / "07_model_output/folder/disc/fod/maps.npy")
    scores = pd.read_csv(report(project, version, "scores.csv"))
    scored = ScoredMaps(maps, scores["score"].to_numpy(), seconds=1.0)
    figure = draw_correlations(detector, images, masks, scored, scores, FODParameters(**QUICK, **changes))
    return {axes.get_gid(): axes for axes in figure.axes}, detector, images[-len(maps) :], maps, masks, scores


@pytest.fixture(scope="module")
def fresh(tmp_path_factory, part):
    """A short run that no other test runs again, so that maps and detector on disk belong together."""
    project = make_project(tmp_path_factory.mktemp("fresh") / "project")
    return project, run(project, part, stages=WITHOUT_REPORT, epochs=2)


@pytest.mark.parametrize("wanted", ["auto", 4])
def test_the_chosen_image_its_patches_and_their_correlations_are_drawn(fresh, wanted):
    names = pd.read_csv(report(*fresh, "scores.csv"))["image"]
    pictured = wanted if wanted == "auto" else names[wanted]
    axes, detector, images, maps, masks, scores = drawn(fresh, pictured=pictured)
    row = int(scores["score"].where(scores["label"] == 1).argmax()) if wanted == "auto" else wanted
    np.testing.assert_array_equal(axes["photograph-0-0"].images[0].get_array(), images[row].transpose(1, 2, 0))
    patches = choose_patches(maps[row], masks[row])
    levels = detector.correlations(torch.from_numpy(images[row])[None], [patch.place for patch in patches])
    for index, branches in enumerate(levels):
        for branch, found in branches.items():
            for name in ("learnt", "target"):
                for patch in (0, 1):
                    shown = axes[f"{branch}-{name}-{index}-{patch}"].images[0].get_array()
                    np.testing.assert_allclose(shown, getattr(found, name)[patch], rtol=1e-5)


def test_without_any_mask_the_highest_score_is_drawn(fresh):
    """As when the test images are all good, or every mask vanished when it was resized."""
    masks = np.zeros_like(np.load(fresh[0] / "data/03_primary/folder/disc/masks.npy"))
    axes, _, images, _, _, scores = drawn(fresh, masks)
    row = int(scores["score"].argmax())
    np.testing.assert_array_equal(axes["photograph-0-0"].images[0].get_array(), images[row].transpose(1, 2, 0))


def test_an_unknown_image_is_named(fresh):
    with pytest.raises(InputError, match=r"fod.pictured: 'nobody.png' is no test image; expected auto or one like"):
        drawn(fresh, pictured="nobody.png")


def test_an_oracle_of_another_score_starts_anew(fresh, tmp_path):
    """Its history holds test metrics: a checkpoint by another score is not taken up, one by the same is."""
    project, version = fresh
    data = project / "data"
    trained = load_method(data / "06_models/folder/disc/fod/detector" / version / "detector")
    images, masks = (np.load(data / f"03_primary/folder/disc/{name}.npy") for name in ("images", "masks"))
    samples = pd.read_csv(data / "02_intermediate/folder/disc/samples.csv", keep_default_na=False)
    cache = FeatureCache(data / "04_feature/cache")
    features, reference = (
        cache.open(json.loads((data / f"04_feature/folder/disc/{name}.json").read_text())["fingerprint"])
        for name in ("fod", "fod_reference")
    )

    def ask(checkpoint, **changes):
        parameters = FODParameters(**{**QUICK, "epochs": 2, "oracle": True, **changes})
        return best_epoch_on_test(trained, images, masks, samples, features, reference, checkpoint, parameters)

    by_error, anew = ask(tmp_path / "one.pt"), ask(tmp_path / "two.pt", correlation="inter")
    assert by_error["oracle_pixel_auroc"] != anew["oracle_pixel_auroc"]
    assert ask(tmp_path / "one.pt", correlation="inter") == anew
    assert ask(tmp_path / "two.pt", correlation="inter") == anew
    masks[:] = False
    assert set(ask(tmp_path / "two.pt", correlation="inter")) == {"oracle_image_auroc", "oracle_image_auroc_epoch"}


def paper(project, **preset):
    bootstrap_project(project)
    with KedroSession.create(project_path=project, env="paper", runtime_params=preset) as session:
        group = session.load_context().params["fod"]
    return FODParameters.model_validate(group if isinstance(group, dict) else group.model_dump())


def test_conf_paper_is_the_papers(project):
    parameters = paper(project)
    assert (parameters.backbone, parameters.weights, parameters.padding) == ("wide_resnet50_2", "racm", "zeros")
    assert parameters.layers == ["layer2", "layer3"] and parameters.widths == [256, 512]
    assert (parameters.heads, parameters.depth, parameters.as_figure) == (8, 3, False)
    assert (parameters.divergence_weight, parameters.entropy_weight) == (0.5, 0.5)
    assert parameters.branches == ["intra", "inter"] and parameters.scored == "inter" and not parameters.balanced
    training = parameters.training(examples=200)
    assert (training.epochs, training.batch_size, training.learning_rate, training.weight_decay) == (100, 1, 1e-4, 0)
    assert (training.schedule, training.precision, parameters.zero_gradient_steps) == ("constant", "fp32", True)
    assert (parameters.residuals, parameters.by_position, parameters.standardise) == ("raw", False, False)
    assert (parameters.smoothing, parameters.image_smoothing, parameters.align_corners) == (0, 4, True)
    assert not parameters.oracle and parameters.seed == 3407


def test_a_preset_has_the_papers_backbone_and_all_else_of_the_program(project):
    program, parameters = paper(project), paper(project, preset="efficientnet_b6")
    changed = {"backbone": "tf_efficientnet_b6", "weights": "aa", "layers": ["blocks.2", "blocks.4"]}
    assert parameters.model_dump() == program.model_dump() | changed
    assert parameters.layers == DEFAULT_LAYERS[parameters.backbone]
    assert parameters.weights in PUBLISHED[parameters.backbone]
    for of_dfr in ("paper_12", "head"):
        assert paper(project, preset=of_dfr) == program
    with pytest.raises(InputError, match=r"preset: 'b6' is not known; expected paper, .*efficientnet_b6"):
        paper(project, preset="b6")


def test_the_papers_backbone_fits_the_transformers(project):
    """EfficientNet-B6 of random weights: sizes follow from those of WRN-50-2 by the channels of the maps."""
    parameters = paper(project, preset="efficientnet_b6", weights="random")
    backbone = build_backbone(parameters.backbone, layers=parameters.layers, **parameters.backbone_options)
    detector = FOD(backbone, parameters, new_card(FOD, parameters, backbone, image_size=(64, 64), data_digest="d"))
    assert dict(detector.tokens.shapes) == {"blocks.2": (72, 8, 8), "blocks.4": (200, 4, 4)}
    # Two projections of a layer's channels to its width, and one back, change with the channels.
    wide = 3_578_208 + 14_234_208 - 1_970_688
    expected = wide + (72 - 512) * (3 * 256 + 1) + (200 - 1024) * (3 * 512 + 1)
    assert sum(parameter.numel() for parameter in detector.transformers.parameters()) == expected
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    maps = detector(images).detach()
    assert maps.shape == (1, 64, 64) and bool(maps.isfinite().all()) and float(maps.std()) > 0


def test_the_papers_networks_run_end_to_end(project, part):
    """WRN-50-2 of random weights, one epoch: what conf/paper needs is there and fits together."""
    version = run_method("fod", project, part, env="paper", image_size=48, weights="random", epochs=1, device="cpu")
    card = load(project, version, "card.json")
    assert card["backbone"]["backbone"] == "wide_resnet50_2" and card["backbone"]["padding"] == "zeros"
    assert card["score"].startswith(
        "(mean squared error + 1 - cosine) x (max softmax(-J) - softmax(-J)), J of the inter"
    )
    folder = project / "data/06_models/folder/disc/fod/detector" / version / "detector"
    transformers = load_method(folder, weights="random").transformers
    assert sum(parameter.numel() for parameter in transformers.parameters()) == 3_578_208 + 14_234_208 - 1_970_688
