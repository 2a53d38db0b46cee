"""DFR's autoencoder: one training step against a step written out naively, at the published widths."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from discrepancy.features.backbones import build_backbone
from discrepancy.features.regions import Regions
from discrepancy.features.vgg import fed_to_convolution
from discrepancy.methods.autoencoder import Autoencoder
from discrepancy.methods.dfr_parameters import DEFAULT_LAYERS

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


def take_over(ours, theirs):
    """Give the naive network our weights."""
    convolutions = [module for module in theirs if isinstance(module, nn.Conv2d)]
    for linear, convolution in zip(ours.linears, convolutions, strict=True):
        convolution.weight.data.copy_(linear.weight.data[:, :, None, None])
        convolution.bias.data.copy_(linear.bias.data)
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
        distance = float((mine - other.squeeze()).norm())
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
        torch.testing.assert_close(ours.eval().residuals(kept, regions), plain.eval()(joined) - joined)


def test_published_sizes():
    """The fifteen published autoencoders (d of each, 12 layers, batch normalisation left out) come to 1.06 GiB."""
    dimensions = [197, 669, 262, 383, 209, 514, 432, 532, 396, 433, 633, 339, 407, 437, 128]
    with torch.device("meta"):
        sizes = [
            sum(parameter.numel() for parameter in Autoencoder(3456, d, batch_norm=False).parameters())
            for d in dimensions
        ]
    assert 4 * sum(sizes) / 2**30 == pytest.approx(1.0576, abs=0.005)
    assert min(sizes) == pytest.approx(13.9e6, rel=0.01) and max(sizes) == pytest.approx(24.8e6, rel=0.01)


def test_mixed_precision_learns_the_same():
    """In bfloat16 products lose digits, the loss hardly: it is summed in float32."""
    shapes = {"a": (24, 8, 8), "b": (40, 4, 4)}
    regions = Regions(shapes, (32, 32))
    torch.manual_seed(0)
    kept = [torch.rand(2, 8, 8, 24), torch.rand(2, 4, 4, 40)]
    ours = Autoencoder(64, 8, batch_norm=True)
    exact = ours.loss(kept, regions)
    exact.backward()
    gradients = [parameter.grad.clone() for parameter in ours.parameters()]
    ours.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = ours.loss(kept, regions)
    mixed.backward()
    assert mixed.dtype == torch.float32 and mixed.item() == pytest.approx(exact.item(), rel=0.02)
    last, exact_last = list(ours.parameters())[10].grad, gradients[10]
    assert last.dtype == torch.float32 and float((last - exact_last).norm() / exact_last.norm()) < 0.05
