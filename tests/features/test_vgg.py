"""Our VGG19 against torchvision's layers, and as a network that trains."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.vgg import cfgs, make_layers
from torchvision.transforms.functional import normalize

from discrepancy.errors import InputError
from discrepancy.features.backbones import build_backbone
from discrepancy.features.vgg import VGG19

RELUS = [
    f"relu{block}_{index}" for block, count in enumerate((2, 2, 4, 4, 4), start=1) for index in range(1, count + 1)
]
IMAGES = torch.randint(0, 256, (2, 3, 64, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def theirs() -> nn.Sequential:
    torch.manual_seed(3)
    layers = make_layers(cfgs["E"])  # what torchvision's vgg19().features is
    for module in layers:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            nn.init.normal_(module.bias, std=0.1)
    return layers


@pytest.fixture(scope="module")
def file(theirs, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vgg19.pth"
    torch.save({f"features.{name}": value for name, value in theirs.state_dict().items()}, path)
    return str(path)


def torchvision_relus(layers: nn.Sequential, pooling: str, padding: str) -> dict[str, torch.Tensor]:
    value = normalize(IMAGES / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    outputs = []
    with torch.no_grad():
        for module in layers:
            if isinstance(module, nn.Conv2d):
                module.padding_mode = padding
            if isinstance(module, nn.MaxPool2d) and pooling == "avg":
                value = nn.AvgPool2d(2, 2)(value)
                continue
            value = module(value)
            if isinstance(module, nn.ReLU):
                outputs.append(value.clone())
    return dict(zip(RELUS, outputs, strict=True))


@pytest.mark.parametrize("padding", ["reflect", "zeros"])
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_every_relu_is_torchvisions(theirs, file, pooling, padding):
    backbone = build_backbone("vgg19", layers=RELUS, weights=file, pooling=pooling, padding=padding)
    found, expected = backbone(IMAGES), torchvision_relus(theirs, pooling, padding)
    assert list(found) == RELUS
    for name in RELUS:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-5 * float(expected[name].max()))


def test_padding_and_pooling_change_the_identity(file):
    built = [
        build_backbone("vgg19", layers=["relu1_2"], weights=file, pooling=pooling, padding=padding).identity
        for pooling in ("max", "avg")
        for padding in ("reflect", "zeros")
    ]
    assert all(one != other for index, one in enumerate(built) for other in built[:index])


# Cumulative parameters of VGG19's convolutions, counted by hand: sum of (9 c_in + 1) c_out.
@pytest.mark.parametrize(
    ("last", "parameters"),
    [("relu1_2", 38_720), ("relu2_2", 260_160), ("relu4_4", 10_585_152), ("relu5_2", 15_304_768)],
)
def test_nothing_after_the_last_layer(last, parameters):
    network = VGG19(["relu1_1", last])
    assert sum(value.numel() for value in network.parameters()) == parameters
    assert network.steps[-1] == last


def test_starts_with_kaiming_normal_fan_out():
    network = VGG19(["relu4_1"])
    network.initialise(torch.Generator().manual_seed(0))
    for channels_out, name in ((64, "conv1_2"), (256, "conv3_3"), (512, "conv4_1")):
        convolution = network.get_submodule(name)
        assert convolution.weight.std().item() == pytest.approx((2 / (9 * channels_out)) ** 0.5, rel=0.02)
        assert not convolution.bias.any()
    again = VGG19(["relu4_1"])
    again.initialise(torch.Generator().manual_seed(0))
    assert torch.equal(again.conv4_1.weight, network.conv4_1.weight)


class Double(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))
        self.seen = torch.Size()

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        self.seen = value.shape
        return self.gain * value


def test_a_module_can_be_inserted_and_trained():
    # Biases are zero at first, so the network is positively homogeneous: doubling in the middle doubles what follows.
    network = VGG19(["relu3_2", "relu2_2"], pooling="avg")
    assert network.keep == ("relu2_2", "relu3_2")
    names, images = list(network.state_dict()), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = network(images)
    network.insert_after("pool2", "middle", Double())
    after = network(images)
    assert network.middle.seen == (1, 128, 8, 8)  # pooled already
    torch.testing.assert_close(after["relu2_2"], before["relu2_2"])
    torch.testing.assert_close(after["relu3_2"], 2 * before["relu3_2"])
    assert [name for name in network.state_dict() if not name.startswith("middle")] == names
    after["relu3_2"].square().mean().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in network.parameters())
    assert network.conv1_1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("step", "name"), [("pool3", "new"), ("nowhere", "new"), ("pool1", "relu1_1")])
def test_insertion_needs_an_existing_step_and_a_new_name(step, name):
    network = VGG19(["relu2_2"])
    with pytest.raises(KeyError, match=name):
        network.insert_after(step, name, Double())


@pytest.mark.parametrize(("option", "value"), [("pooling", "mean"), ("padding", "zero")])
def test_unknown_options_are_refused(option, value):
    with pytest.raises(InputError, match=f"{option}='{value}'"):
        build_backbone("vgg19", layers=["relu1_1"], weights="random", **{option: value})


@pytest.mark.parametrize("layers", [[], ["relu6_1"], ["conv1_1"]])
def test_only_relus_are_given_out(layers):
    with pytest.raises(KeyError):
        VGG19(layers)
