"""The estimation networks: MCRL's formula, the paper's topology and sizes."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from discrepancy.errors import InputError
from discrepancy.features.backbones import build_backbone
from discrepancy.methods.dfc.estimators import (
    CompactEstimator,
    MultiContextResidualLearning,
    Normalise,
    VGG19Estimator,
)

OBJECTS = ["relu4_3", "relu4_4", "relu5_1", "relu5_2"]
TEXTURES = ["relu4_1", "relu4_2", "relu4_3", "relu4_4"]


def targets(*strides):
    return [SimpleNamespace(name=f"layer{i}", channels=5 + i, stride=stride) for i, stride in enumerate(strides)]


def vgg_targets(names):
    return build_backbone("vgg19", layers=names, weights="random", pooling="avg").layers


def parameters_of(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_mcrl_is_x_plus_three_branches_of_residual_blocks():
    torch.manual_seed(0)
    module = MultiContextResidualLearning(4, blocks=2).double()
    x = torch.randn(2, 4, 20, 20, dtype=torch.float64)
    expected = x.clone()
    for branch, r in zip(module.branches, (2, 4, 8), strict=True):
        y = x
        for block in branch:
            inner = F.conv2d(
                F.pad(y, (r, r, r, r), mode="reflect"), block.context.weight, block.context.bias, dilation=r
            )
            y = y + F.conv2d(F.pad(inner.relu(), (1, 1, 1, 1), mode="reflect"), block.local.weight, block.local.bias)
        expected = expected + y
    torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)


def test_normalisation_is_by_image_so_that_one_pass_serves_clean_and_corrupted():
    torch.manual_seed(0)
    module = MultiContextResidualLearning(8, blocks=1, groups=4)
    a, b = torch.randn(2, 8, 20, 20), 5 * torch.randn(1, 8, 20, 20)
    torch.testing.assert_close(module(torch.cat([a, b]))[:2], module(a), rtol=1e-4, atol=1e-5)
    assert sum(isinstance(m, torch.nn.GroupNorm) for m in module.modules()) == 3


def test_the_papers_mcrl_has_its_size_and_starts_at_four_times():
    torch.manual_seed(0)
    module = MultiContextResidualLearning(256)
    assert parameters_of(module) == 14_161_920
    x = torch.randn(1, 256, 20, 20)
    with torch.no_grad():
        out = module(x)
    slope = (x * out).sum() / (x * x).sum()
    assert slope.item() == pytest.approx(4.0, abs=0.05)


@pytest.mark.parametrize(("names", "millions"), [(TEXTURES, 24.75), (OBJECTS, 29.47)])
def test_the_papers_network_has_its_size_and_its_teachers_shapes(names, millions):
    layers = vgg_targets(names)
    network = VGG19Estimator(layers)
    assert parameters_of(network) / 1e6 == pytest.approx(millions, abs=0.01)
    with torch.no_grad():
        maps = network(torch.rand(1, 3, 96, 96))
    assert {name: tuple(value.shape) for name, value in maps.items()} == {
        layer.name: (1, layer.channels, 96 // layer.stride, 96 // layer.stride) for layer in layers
    }


def test_the_papers_network_runs_mcrl_between_the_third_pooling_and_the_fourth_block():
    network = VGG19Estimator(vgg_targets(["relu4_1"]), blocks=1)
    images = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        x = Normalise()(images)
        chain = network.network
        for name in chain.steps:
            if name == "conv4_1":
                break
            if name != "mcrl":
                x = chain.get_submodule(name)(x)
        assert x.shape == (1, 256, 12, 12)
        expected = chain.get_submodule("conv4_1")(chain.get_submodule("mcrl")(x)).relu()
        torch.testing.assert_close(network(images)["relu4_1"], expected)


def test_the_papers_network_starts_kaiming_normal_fan_out_with_zero_biases():
    network = VGG19Estimator(vgg_targets(["relu4_4"]), blocks=1).network
    weight = network.get_submodule("conv4_2").weight
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert network.get_submodule("conv4_2").bias.abs().max() == 0


@pytest.mark.parametrize("size", [(96, 96), (72, 104)])
@pytest.mark.parametrize("strides", [(8,), (16,), (8, 16), (8, 16, 16)])
def test_the_compact_network_has_its_targets_shapes(strides, size):
    network = CompactEstimator(targets(*strides), width=16)
    maps = network(torch.rand(2, 3, *size))
    for target in targets(*strides):
        rows, columns = (-(-side // target.stride) for side in size)
        assert maps[target.name].shape == (2, target.channels, rows, columns)


def test_the_compact_network_has_every_parameter_in_use():
    network = CompactEstimator(targets(8, 16), width=16)
    sum(value.square().sum() for value in network(torch.rand(1, 3, 96, 96)).values()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())
    only_fine = CompactEstimator(targets(8), width=16)
    sum(value.sum() for value in only_fine(torch.rand(1, 3, 96, 96)).values()).backward()
    assert all(parameter.grad is not None for parameter in only_fine.parameters())


def test_layers_that_cannot_be_predicted_are_named():
    with pytest.raises(InputError, match=r"layer1 \(stride 4\)"):
        CompactEstimator(targets(8, 4))
    with pytest.raises(InputError, match="relu3_1"):
        VGG19Estimator(vgg_targets(["relu3_1", "relu4_1"]))
