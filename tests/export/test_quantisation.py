"""Graphs in int8: which convolutions are, thresholds from held-out images, and what it costs."""

import copy

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from PIL import Image

from discrepancy.decisions.calibration import Calibration
from discrepancy.errors import InputError
from discrepancy.export.comparison import ExportPhotographs
from discrepancy.export.quantisation import METRICS, quantise
from discrepancy.metrics import auroc
from discrepancy.pipelines.export.nodes import quantise_graph
from discrepancy.pipelines.export.parameters import ExportParameters
from discrepancy.prediction import Detector
from tests.prediction.conftest import with_calibration
from tests.tiny import stripes, unseen_and_defective


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Photographs of a training and a test, and masks."""
    root = tmp_path_factory.mktemp("stripes")
    images, masks = unseen_and_defective()
    sets = {"train": stripes(18, seed=0), "validation": stripes(12, seed=5), "test": images}
    for split, pictures in sets.items():
        (root / split).mkdir()
        for index, image in enumerate(pictures):
            Image.fromarray(image.transpose(1, 2, 0)).save(root / split / f"{index:02d}.png")
    for index, mask in enumerate(masks):
        Image.fromarray(mask).save(root / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def samples(root):
    rows = [
        {"image": path.relative_to(root).as_posix(), "split": path.parent.name, "label": 0, "mask": ""}
        for split in ("train", "validation", "test")
        for path in sorted((root / split).iterdir())
    ]
    for index, row in enumerate(rows[-8:]):
        row |= {"label": 1, "mask": f"{index}.png"}
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def trained(method, graph, samples, root):
    """The detector with the threshold that a training sets: by the scores of its held-out images."""
    scores = scores_of(graph, root, samples.loc[samples["split"] == "validation", "image"])
    return Detector(with_calibration(copy.copy(method), float(scores.max()), scores.tolist()), device="cpu")


@pytest.fixture(scope="module")
def exported(trained, graph, samples, root):
    return quantise(trained, graph, samples, root)


def in_int8(graph):
    """Which convolutions, in their order, have weights in int8."""
    graph = onnx.load_from_string(graph).graph
    names = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    made = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return [made.get(node.input[1]) in names for node in graph.node if node.op_type == "Conv"]


def test_the_last_convolutions_are_in_int8_as_many_as_the_maps_allow(exported, graph, trained, samples, root):
    found = in_int8(exported.graph)
    assert 3 < sum(found) < len(found) == len(in_int8(graph)) and not any(in_int8(graph))
    *of_network, _, _ = found
    assert of_network == sorted(of_network), "the first ones are not"
    assert not any(found[-2:]), "scores are smoothed in float32"
    assert len(exported.graph) < len(graph)
    exact = quantise(trained, graph, samples, root, tolerance=0.03)
    assert 0 < sum(in_int8(exact.graph)) < sum(found)
    with pytest.raises(InputError, match="int8_tolerance: the maps of good images change by more than 1e-06"):
        quantise(trained, graph, samples, root, tolerance=1e-6)


def test_maps_of_good_images_change_by_no_more_than_is_allowed(exported, graph, root):
    images = np.stack(
        [np.asarray(Image.open(path)).transpose(2, 0, 1) for path in sorted((root / "validation").iterdir())]
    )
    before, after = (
        onnxruntime.InferenceSession(one).run(["maps"], {"images": images})[0] for one in (graph, exported.graph)
    )
    assert 0 < np.abs(after - before).mean() / before.mean() <= 0.05


def scores_of(graph, root, names):
    images = np.stack([np.asarray(Image.open(root / name)).transpose(2, 0, 1) for name in names])
    return onnxruntime.InferenceSession(graph).run(["scores"], {"images": images})[0]


def test_its_threshold_is_that_of_its_own_scores_of_held_out_images(exported, trained, samples, root):
    names = samples.loc[samples["split"] == "validation", "image"]
    scores = scores_of(exported.graph, root, names)
    expected = Calibration(scores.astype(float), 0.01, "gumbel").threshold
    assert exported.detector.threshold == pytest.approx(expected, rel=1e-6)
    assert exported.detector.threshold != trained.threshold
    assert exported.detector.card.decision.image.scores == pytest.approx(scores.tolist())
    assert trained.card.decision.image.scores != scores.tolist(), "the detector keeps its own"


def test_outliers_of_the_float32_detector_do_not_count_either(trained, graph, samples, root):
    names = list(samples.loc[samples["split"] == "validation", "image"])
    method = copy.copy(trained.method)
    thresholds = method.card.to_json()["thresholds"]
    thresholds["image"]["outliers"] = names[3:4]
    method.card = method.card.with_entries(thresholds=thresholds)
    found = quantise(Detector(method, device="cpu"), graph, samples, root)
    decision = found.detector.card.decision.image
    scores = np.delete(scores_of(found.graph, root, names), 3)
    assert decision.value == pytest.approx(Calibration(scores.astype(float), 0.01, "gumbel").threshold, rel=1e-6)
    assert decision.images == 11 and decision.scores == pytest.approx(scores.tolist())
    assert decision.outliers == names[3:4], "named for whoever looks at the photographs"


def test_its_cost_is_measured_on_the_test_images(exported, samples, root):
    test = samples[samples["split"] == "test"]
    assert list(exported.cost["graph"]) == ["float32", "int8"]
    found = auroc(scores_of(exported.graph, root, test["image"]), test["label"].to_numpy())
    assert exported.cost["image_auroc"][1] == pytest.approx(found, abs=1e-4)
    assert set(METRICS) < set(exported.cost)
    assert (exported.cost["pixel_auroc"] > 0.9).all(), "it still sees the defects"


def test_images_must_be_held_out_and_known(trained, graph, samples, root):
    with pytest.raises(InputError, match="no good images are held out"):
        quantise(trained, graph, samples[samples["split"] != "validation"], root)
    with pytest.raises(InputError, match="no test photographs"):
        quantise(trained, graph, samples[samples["split"] != "test"], root)
    photographs = ExportPhotographs(root, [], root, lambda: samples.assign(sha256="0"))
    with pytest.raises(InputError, match="not that of the detector's training"):
        quantise_graph(trained, graph, photographs, ExportParameters(quantise="int8"))
    assert quantise_graph(trained, graph, photographs, ExportParameters()).graph is graph
    with pytest.raises(InputError, match="the sample table of the training is not on disk"):
        _ = ExportPhotographs(root, [], root).samples


def test_a_detector_that_was_calibrated_on_other_photographs_is_refused(detector, trained, graph, samples, root):
    """Its training's held-out images show the lamp of before."""
    with pytest.raises(InputError, match="calibrated on other photographs than those its training held out"):
        quantise(detector, graph, samples, root)
    scores = [1.2 * score for score in trained.card.decision.image.scores]
    brighter = Detector(with_calibration(copy.copy(trained.method), trained.threshold, scores), device="cpu")
    with pytest.raises(InputError, match="calibrated on other photographs"):
        quantise(brighter, graph, samples, root)
