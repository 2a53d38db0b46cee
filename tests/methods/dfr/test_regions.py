"""Regional features against their slow definition: resize each map to the image, cut windows, take means."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.errors import InputError
from discrepancy.features.backbones import build_backbone
from discrepancy.features.cache import FeatureCache
from discrepancy.features.recipe import lazy_features
from discrepancy.features.vgg import fed_to_convolution
from discrepancy.methods.dfr.regions import Regions, alignment_matrix

MODES = {
    "nearest": {"mode": "nearest"},
    "bilinear": {"mode": "bilinear", "align_corners": False},
    "bilinear_corners": {"mode": "bilinear", "align_corners": True},
}
PAPER = {  # the grids of VGG19's layers for images of 256x256
    "relu1_1": (3, 256, 256),
    "relu1_2": (2, 256, 256),
    "relu2_1": (2, 128, 128),
    "relu2_2": (4, 128, 128),
    "relu3_1": (2, 64, 64),
    "relu3_4": (2, 64, 64),
    "relu4_1": (3, 32, 32),
    "relu4_4": (3, 32, 32),
    "relu5_1": (2, 16, 16),
}


def resized(values, size, alignment):
    """Nearest neighbours by their definition: PyTorch rounds the scale, and errs where a pixel lies on an edge."""
    if alignment != "nearest":
        return F.interpolate(values, size, **MODES[alignment])
    rows, columns = (torch.arange(new) * old // new for new, old in zip(size, values.shape[-2:], strict=True))
    return values[..., rows, :][..., columns]


def slow(maps, size, region, alignment, padded):
    """[N, C, grid, grid] by the paper's words, one image-sized map per layer."""
    aligned = []
    for layer, values in maps.items():
        wide = F.pad(values, (1, 1, 1, 1), mode="reflect") if layer in padded else values
        full = resized(wide, size, alignment)
        count, channels = full.shape[:2]
        windows = F.unfold(full, region, stride=region).view(count, channels, region**2, -1).mean(2)
        aligned.append(windows.view(count, channels, size[0] // region, size[1] // region))
    return torch.cat(aligned, 1)


def random_maps(shapes, count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {layer: torch.rand(count, *shape, generator=generator) for layer, shape in shapes.items()}


@pytest.mark.parametrize("padded", [(), fed_to_convolution()], ids=["plain", "padded"])
@pytest.mark.parametrize("alignment", list(MODES))
def test_the_papers_grids(alignment, padded):
    maps = random_maps(PAPER)
    regions = Regions(PAPER, (256, 256), alignment=alignment, padded=padded)
    kept = regions.reduced(maps)
    joined = regions.joined(kept)
    expected = slow(maps, (256, 256), 4, alignment, padded)
    assert regions.grid == (64, 64) and joined.shape == (2, 64, 64, expected.shape[1])
    torch.testing.assert_close(joined.permute(0, 3, 1, 2), expected, rtol=1e-5, atol=2e-6)
    assert {name: tuple(value.shape[1:]) for name, value in kept.items()} == regions.shapes
    assert all(value.is_contiguous(memory_format=torch.channels_last) for value in kept.values())


@settings(max_examples=40, deadline=None)
@given(
    alignment=st.sampled_from(list(MODES)),
    region=st.integers(1, 9),
    cells=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    sides=st.lists(st.tuples(st.integers(2, 40), st.integers(2, 40)), min_size=1, max_size=3),
    quirk=st.booleans(),
)
def test_any_grids(alignment, region, cells, sides, quirk):
    """Image sizes that are multiples of the region, maps of any size."""
    size = (region * cells[0], region * cells[1])
    shapes = {f"l.{index}": (2, *side) for index, side in enumerate(sides)}
    padded = {"l.0"} if quirk else set()
    maps = {layer: value.double() for layer, value in random_maps(shapes).items()}
    regions = Regions(shapes, size, region=region, alignment=alignment, padded=padded)
    order = [layer for group in regions.groups for layer in group.layers]
    expected = slow({layer: maps[layer] for layer in order}, size, region, alignment, padded)
    result = regions.joined(regions.reduced(maps)).permute(0, 3, 1, 2)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


def test_nearest_without_padding_is_pooling_and_repetition():
    """For the paper's sizes: block 1 and 2 averaged, block 3 as it is, block 4 and 5 repeated; kept where smaller."""
    maps = random_maps(PAPER)
    regions = Regions(PAPER, (256, 256))
    kept = regions.reduced(maps)
    assert [(g.name, g.channels) for g in regions.groups] == [("64x64", 15), ("32x32", 6), ("16x16", 2)]
    torch.testing.assert_close(kept["64x64"][:, :3], F.avg_pool2d(maps["relu1_1"], 4))
    assert torch.equal(kept["64x64"][:, -4:-2], maps["relu3_1"])
    assert torch.equal(kept["32x32"][:, 3:], maps["relu4_4"])
    joined = regions.joined(kept).permute(0, 3, 1, 2)
    assert torch.equal(joined[:, 15:18], maps["relu4_1"].repeat_interleave(2, 2).repeat_interleave(2, 3))


@pytest.mark.parametrize("alignment", list(MODES))
def test_sizes_that_are_no_multiple_of_the_region(alignment):
    """Windows of uneven size: every pixel counts, in windows as adaptive pooling cuts them."""
    maps = random_maps({"a": (2, 10, 13)})
    regions = Regions({"a": (2, 10, 13)}, (50, 38), region=8, alignment=alignment)
    assert regions.grid == (6, 5)
    full = F.interpolate(maps["a"], (50, 38), **MODES[alignment])
    expected = F.adaptive_avg_pool2d(full, (6, 5))
    torch.testing.assert_close(
        regions.joined(regions.reduced(maps)).permute(0, 3, 1, 2), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("alignment", list(MODES))
def test_channels_may_be_mixed_before_the_alignment(alignment):
    """A layer W x + b applied to what is kept and then expanded equals the layer applied to the regional features."""
    shapes = {"a": (5, 32, 32), "b": (7, 8, 8)}
    regions = Regions(shapes, (64, 64), alignment=alignment, padded=("b",))
    kept = regions.reduced(random_maps(shapes))
    weight, bias = torch.randn(3, 12), torch.randn(3)
    expected = F.linear(regions.joined(kept), weight, bias)
    mixed = [
        regions.expand(group.name, F.linear(kept[group.name].permute(0, 2, 3, 1), part))
        for group, part in zip(regions.groups, weight.split(regions.split, 1), strict=True)
    ]
    first_with_bias = regions.expand(
        "8x8_padded", F.linear(kept["8x8_padded"].permute(0, 2, 3, 1), weight[:, 5:], bias)
    )
    torch.testing.assert_close(mixed[0] + mixed[1] + bias, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mixed[0] + first_with_bias, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 30), st.integers(2, 60), st.data(), st.sampled_from(list(MODES)), st.booleans())
def test_rows_of_the_matrices_sum_to_one(side, size, data, alignment, padded):
    cells = data.draw(st.integers(1, size))
    matrix = alignment_matrix(side, size, cells, alignment=alignment, padded=padded)
    assert matrix.shape == (cells, side)
    np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-6)
    assert (matrix >= 0).all()


def test_the_authors_quirk_has_the_grids_that_were_observed():
    """258, 256, 130, 128, 66 (three times), 64, 34 (three times), 32: methods' padded maps."""
    padded = fed_to_convolution()
    layers = [f"relu{b}_{i}" for b, n in ((1, 2), (2, 2), (3, 4), (4, 4)) for i in range(1, n + 1)]
    sides = [256 // 2 ** (int(layer[4]) - 1) + 2 * (layer in padded) for layer in layers]
    assert sides == [258, 256, 130, 128, 66, 66, 66, 64, 34, 34, 34, 32]


def test_regional_features_are_cached_as_they_are_kept(tmp_path):
    backbone = build_backbone("vgg19", layers=["relu1_2", "relu3_1", "relu4_1"], weights="random")
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 48), np.uint8)
    regions = Regions(backbone.map_shapes(32, 48), (32, 48), alignment="bilinear_corners")
    recipe = lazy_features(backbone, images, ["a", "b", "c"], reduction=regions, batch_size=2)
    features = FeatureCache(tmp_path).get(recipe, progress=False)
    assert {name: features[name].shape for name in features} == {"8x12": (3, 320, 8, 12), "4x6": (3, 512, 4, 6)}
    expected = slow(backbone(torch.from_numpy(images)), (32, 48), 4, "bilinear_corners", ())
    joined = regions.joined(features.tensors([2, 0])).permute(0, 3, 1, 2)
    torch.testing.assert_close(joined, expected[[2, 0]], rtol=1e-4, atol=1e-5)
    others = [
        Regions(backbone.map_shapes(32, 48), (32, 48), alignment="nearest"),
        Regions(backbone.map_shapes(32, 48), (32, 48), alignment="bilinear_corners", region=8),
        Regions(backbone.map_shapes(32, 48), (32, 48), alignment="bilinear_corners", padded=("relu4_1",)),
    ]
    prints = {
        lazy_features(backbone, images, ["a", "b", "c"], reduction=other).fingerprint for other in [*others, None]
    }
    assert len(prints) == 4 and recipe.fingerprint not in prints


def test_wrong_parameters_are_named():
    with pytest.raises(InputError, match="cubic"):
        Regions({"a": (1, 4, 4)}, (8, 8), alignment="cubic")
    with pytest.raises(InputError, match="region: 9"):
        Regions({"a": (1, 4, 4)}, (8, 16), region=9)
