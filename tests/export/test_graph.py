"""The ONNX graph of every method gives what PyTorch gives, for any number of images."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from discrepancy.errors import InputError
from discrepancy.export.graph import OPSET, onnx_graph
from discrepancy.export.quantisation import is_of_network
from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import lazy_features
from discrepancy.methods.base import TrainingData, new_card
from discrepancy.methods.registry import METHODS
from tests.tiny import unseen_and_defective

LAYERS = ["blocks.2", "blocks.3"]
QUICK = {
    "dfc": {"epochs": 1, "width": 8},
    "dfr": {"epochs": 1, "latent_dim": 8},
    "fod": {"epochs": 1, "widths": [8, 8], "depth": 1, "heads": 2},
    "padim": {"channels": 8, "augmentation": "none"},
    "patchcore": {"smallest_memory": 50},
    "committee": {"members": ["padim", "patchcore"], "paintings": 1},
}


@pytest.fixture(scope="module")
def fitted(good_images, tmp_path_factory):
    """Return a function that fits a method, quickly."""
    cache = FeatureCache(tmp_path_factory.mktemp("features"))

    def fitted(name):
        kind = METHODS[name]
        given = {"device": "cpu", "layers": LAYERS, **QUICK[name]}
        if name == "committee":
            del given["layers"]
            given["settings"] = {member: {"layers": LAYERS, **QUICK[member]} for member in given["members"]}
        parameters = kind.Parameters.model_validate(given)
        backbone = build_backbone("tf_efficientnet_lite0", layers=LAYERS)
        reduction = kind.reduction(backbone, parameters, (96, 96))
        digests = [str(index) for index in range(len(good_images))]
        features = cache.get(lazy_features(backbone, good_images, digests, reduction=reduction), progress=False)
        data = TrainingData(good_images, features, 14)
        data = TrainingData(good_images, features, 14, prepared := kind.prepare(backbone, data, parameters))
        entries = kind.card_entries(parameters, prepared)
        facts = {"image_size": (96, 96), "data_digest": "d", "images": {"train": 14}}
        method = kind(backbone, parameters, new_card(kind, parameters, backbone, **facts, **entries))
        method.fit(data)
        return method.eval()

    return fitted


@pytest.mark.parametrize("name", METHODS)
def test_maps_and_scores_are_those_of_pytorch(fitted, name):
    method = fitted(name)
    graph = onnx_graph(method)
    session = onnxruntime.InferenceSession(graph)
    images, _ = unseen_and_defective()
    for count in (1, 2, 5, 16):
        maps, scores = session.run(["maps", "scores"], {"images": images[-count:]})
        with torch.inference_mode():
            expected = method.score(images[-count:])
        assert maps.shape == (count, 96, 96) and scores.shape == (count,)
        np.testing.assert_allclose(scores, expected.image_scores, rtol=1e-5)
        np.testing.assert_allclose(maps, expected.maps, atol=3e-5 * float(expected.maps.max()))
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model)
    assert next(entry.version for entry in model.opset_import if not entry.domain) == OPSET
    assert not [node for node in model.graph.node if node.domain], "only ONNX's own operators"
    if name == "dfc":
        convolutions_that_scale_residuals_are_told_from_those_of_networks(method, model)


def convolutions_that_scale_residuals_are_told_from_those_of_networks(method, model):
    """In the same test, as an export takes long."""
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    networks = [*method.backbone.modules(), *method.estimator.modules()]
    expected = sum(isinstance(module, torch.nn.Conv2d) for module in networks)
    assert sum(is_of_network(node, method) for node in convolutions) == expected < len(convolutions)


def test_normalisation_is_folded_into_convolutions(graph):
    kinds = [node.op_type for node in onnx.load_from_string(graph).graph.node]
    assert kinds.count("Conv") > 20 and "BatchNormalization" not in kinds


def test_pipelines_need_no_extra():
    absent = dict.fromkeys(("onnx", "onnxruntime", "onnxscript"))
    program = f"""
import sys
sys.modules.update({absent})
from discrepancy import datasets
from discrepancy.pipeline_registry import register_pipelines
assert "export" in register_pipelines()
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_no_file_can_hold_is_refused(method, monkeypatch):
    monkeypatch.setattr("discrepancy.export.graph.LARGEST", 1000)
    with pytest.raises(InputError, match=r"tensors take .* GB; expected at most"):
        onnx_graph(method)


def test_a_missing_extra_is_named(method, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[export\]'"):
        onnx_graph(method)
