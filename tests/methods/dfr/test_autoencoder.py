"""DFR's autoencoder: one training step against a step written out naively, at the published widths."""

import copy
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from discrepancy.features.backbones import build_backbone
from discrepancy.features.vgg import fed_to_convolution
from discrepancy.methods.dfr.autoencoder import Autoencoder
from discrepancy.methods.dfr.parameters import DEFAULT_LAYERS
from discrepancy.methods.dfr.regions import Regions

MODES = {"nearest": {"mode": "nearest"}, "bilinear_corners": {"mode": "bilinear", "align_corners": True}}


def naive(channels, latent_dim, batch_norm):
    """The paper's network, by its table: 1x1 convolutions over a map."""
    hidden = (channels + 2 * latent_dim) // 2

    def block(a, b):
        norm = [nn.BatchNorm2d(b)] if batch_norm else []
        return [nn.Conv2d(a, b, 1), *norm, nn.ReLU()]

    return nn.Sequential(
        *block(channels, hidden),
        *block(hidden, 2 * latent_dim),
        nn.Conv2d(2 * latent_dim, latent_dim, 1),
        *block(latent_dim, 2 * latent_dim),
        *block(2 * latent_dim, hidden),
        nn.Conv2d(hidden, channels, 1),
    )


def used(values, like):
    """The part [like's first sides] of weights or gradients that is not of idle units; the rest must be 0."""
    sides = tuple(slice(side) for side in like.shape[: values.ndim])
    rest = values.clone()
    rest[sides] = 0
    assert not rest.any()
    return values[sides]


def take_over(ours, theirs):
    """Give the naive network our weights."""
    convolutions = [module for module in theirs if isinstance(module, nn.Conv2d)]
    for linear, convolution in zip(ours.linears, convolutions, strict=True):
        convolution.weight.data.copy_(used(linear.weight.data, convolution.weight)[:, :, None, None])
        convolution.bias.data.copy_(used(linear.bias.data, convolution.bias))
    return convolutions, [module for module in theirs if isinstance(module, nn.BatchNorm2d)]


def slow_features(maps, size, alignment, padded):
    """Resize to the image, cut windows of 4x4, take means, join."""
    parts = []
    for layer, values in maps.items():
        wide = F.pad(values, (1, 1, 1, 1), mode="reflect") if layer in padded else values
        full = F.interpolate(wide, size, **MODES[alignment])
        windows = F.unfold(full, 4, stride=4).view(*full.shape[:2], 16, -1).mean(2)
        parts.append(windows.view(*full.shape[:2], size[0] // 4, size[1] // 4))
    return torch.cat(parts, 1)


@pytest.mark.parametrize(
    ("alignment", "batch_norm", "quirk", "latent_dim"),
    [("nearest", False, False, 197), ("bilinear_corners", True, True, 128)],
    ids=["paper", "head"],
)
def test_a_training_step_at_the_official_widths_equals_the_naive_one(alignment, batch_norm, quirk, latent_dim):
    """Random VGG19, twelve layers, 3456 channels: loss and every gradient.

    In float64: one activation of half a million that rounding in float32 moves across 0 changes a gradient by 1e-3.
    """
    layers = DEFAULT_LAYERS["vgg19"]
    backbone = build_backbone("vgg19", layers=layers, weights="random")
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 48, 32), generator=generator, dtype=torch.uint8)
    maps = backbone(images)
    padded = fed_to_convolution() if quirk else ()

    regions = Regions(backbone.map_shapes(48, 32), (48, 32), alignment=alignment, padded=padded)
    torch.manual_seed(1)
    ours = Autoencoder(regions.channels, latent_dim, batch_norm=batch_norm)
    kept = [values.permute(0, 2, 3, 1) for values in regions.reduced(maps).values()]
    with torch.no_grad():
        single = copy.deepcopy(ours).loss(kept, regions).item()
    ours.double()
    loss = ours.loss([values.double() for values in kept], regions)
    loss.backward()

    theirs = naive(3456, latent_dim, batch_norm).double()
    convolutions, norms = take_over(ours, theirs)
    features = slow_features({name: values.double() for name, values in maps.items()}, (48, 32), alignment, padded)
    assert features.shape == (2, 3456, 12, 8)
    expected = ((theirs(features) - features) ** 2).mean()
    expected.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert single == pytest.approx(expected.item(), rel=1e-5)
    pairs = [
        (getattr(mine, kind).grad, getattr(other, kind).grad)
        for mine, other in [
            *zip(ours.linears, convolutions, strict=True),
            *zip(ours.norms.values(), norms, strict=True),
        ]
        for kind in ("weight", "bias")
    ]
    largest = max(float(other.norm()) for _, other in pairs)
    for mine, other in pairs:
        distance = float((used(mine, other) - other.squeeze()).norm())
        # A bias before batch normalisation has no effect; its gradient is rounding on both sides.
        assert distance <= 1e-5 * max(float(other.norm()), 1e-3 * largest)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("alignment", ["nearest", "bilinear", "bilinear_corners"])
def test_loss_and_gradients_in_float64(alignment, batch_norm):
    """Tiny, every digit: the fused last layer and the first layer before the alignment change nothing."""
    shapes = {"a": (3, 16, 16), "b": (4, 8, 8), "c": (5, 4, 4)}
    regions = Regions(shapes, (32, 32), alignment=alignment).double()
    torch.manual_seed(0)
    kept = [torch.rand(2, *size, dtype=torch.float64) for size in ((8, 8, 7), (4, 4, 5))]
    ours = Autoencoder(12, 3, batch_norm=batch_norm).double()
    plain = copy.deepcopy(ours)
    joined = regions.joined(
        {group.name: values.permute(0, 3, 1, 2) for group, values in zip(regions.groups, kept, strict=True)}
    ).flatten(0, 2)
    expected = F.mse_loss(plain(joined), joined)
    expected.backward()
    loss = ours.loss(kept, regions)
    (3 * loss).backward()
    torch.testing.assert_close(loss, expected)
    for mine, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, 3 * other.grad)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval().compare(kept, regions)[0], joined - plain.eval()(joined))


def test_published_sizes():
    """The fifteen published autoencoders (d of each, 12 layers, batch normalisation left out) come to 1.06 GiB."""
    dimensions = [197, 669, 262, 383, 209, 514, 432, 532, 396, 433, 633, 339, 407, 437, 128]
    with torch.device("meta"):
        sizes = [sum(a * b + b for a, b in pairwise(Autoencoder(3456, d, batch_norm=False).widths)) for d in dimensions]
    assert 4 * sum(sizes) / 2**30 == pytest.approx(1.0576, abs=0.005)
    assert min(sizes) == pytest.approx(13.9e6, rel=0.01) and max(sizes) == pytest.approx(24.8e6, rel=0.01)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_idle_units_stay_idle(batch_norm):
    """After training steps, and with weight decay, all that belongs to them is still 0; the others have moved."""
    torch.manual_seed(0)
    regions = Regions({"a": (21, 8, 8)}, (32, 32))
    network = Autoencoder(21, 3, batch_norm=batch_norm)
    assert network.widths == (21, 13, 6, 3, 6, 13, 21)
    assert [linear.out_features for linear in network.linears] == [16, 8, 8, 8, 16, 21]
    before = copy.deepcopy(network.state_dict())
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2, weight_decay=1e-3)
    for _ in range(20):
        optimiser.zero_grad()
        network.loss([torch.rand(2, 8, 8, 21)], regions).backward()
        optimiser.step()
    for linear, (inputs, outputs) in zip(network.linears, pairwise(network.widths), strict=True):
        assert not linear.weight[outputs:].any() and not linear.weight[:, inputs:].any()
        assert not linear.bias[outputs:].any()
    for index, norm in network.norms.items():
        assert not norm.bias[network.widths[int(index) + 1] :].any()
    assert not torch.equal(before["linears.0.weight"][:13], network.linears[0].weight[:13])


def test_mixed_precision_is_no_worse_than_autocast_over_joined_features():
    """Gradients in bfloat16 are as far from those in float32 as PyTorch's own; the loss, summed in float32, hardly."""
    regions = Regions({"a": (24, 16, 16), "b": (40, 8, 8)}, (64, 64), alignment="bilinear_corners")

    def gradient(network, kept, joined, mixed):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = network.loss(kept, regions) if joined is None else F.mse_loss(network(joined), joined)
        assert loss.dtype == torch.float32
        found = torch.autograd.grad(loss, list(network.parameters()))
        assert all(part.dtype == torch.float32 for part in found)
        return loss.item(), torch.cat([part.flatten() for part in found])

    ours, theirs = 0.0, 0.0
    for seed in range(6):
        torch.manual_seed(seed)
        kept = [torch.rand(2, 16, 16, 24), torch.rand(2, 8, 8, 40)]
        joined = torch.cat([regions.expand(g.name, v) for g, v in zip(regions.groups, kept, strict=True)], -1)
        network = Autoencoder(64, 8, batch_norm=True)
        exact_loss, exact = gradient(network, kept, None, False)
        loss, mixed = gradient(network, kept, None, True)
        _, plain = gradient(network, kept, joined.flatten(0, 2), True)
        assert loss == pytest.approx(exact_loss, rel=1e-3)
        ours += float((mixed - exact).norm() / exact.norm())
        theirs += float((plain - exact).norm() / exact.norm())
    assert ours < 1.05 * theirs  # 1.13 with the alignment in bfloat16
