"""Multi-scale regional features: all layers on one grid, each cell the mean over a square of the image (DFR, 2020).

The paper resizes every layer's map to the image's size and averages windows of 4x4 px. Both steps are linear and act on
rows and columns alike. So together they are A F B^T with two small fixed matrices, and no map of the image's size is
ever made. Channels do not mix, and the rows of A and B sum to 1. So every function that is linear in the channels may
be applied before the alignment, at the layer's own resolution, where a deep layer has a fraction of the cells.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from discrepancy.errors import InputError
from discrepancy.features.backbones import Backbone
from discrepancy.features.vgg import fed_to_convolution
from discrepancy.methods.dfr.parameters import DFRParameters

Alignment = Literal["nearest", "bilinear", "bilinear_corners"]

_MODES: dict[str, dict[str, Any]] = {
    "nearest": {"mode": "nearest"},
    "bilinear": {"mode": "linear", "align_corners": False},
    "bilinear_corners": {"mode": "linear", "align_corners": True},
}


@dataclass(frozen=True)
class Group:
    """Layers that are kept on one grid and aligned by the same matrices.

    Attributes:
        name: `64x64` for one, after the grid on which it is kept.
        layers: their names, in network order.
        channels: of all of them together.
        height: rows on which the group is kept: of the common grid, or fewer.
        width: columns, likewise.
    """

    name: str
    layers: tuple[str, ...]
    channels: int
    height: int
    width: int


class Regions(nn.Module):
    """Regional features of feature maps, computed in two steps that may lie far apart.

    `reduced` brings each map to the common grid if that makes it smaller, and leaves it as it is otherwise: the form of
    the cache. `expand` does the rest when the features are needed. Both are exact, up to rounding, for every alignment.
    There is nothing to learn and nothing to save.

    Args:
        shapes: (C, h, w) of each layer's map, in network order, as `Backbone.map_shapes` gives them.
        image_size: height and width of the images, px.
        region: side of a region, px: the common grid has a cell per region (4 in the paper). Where the image's side is
            no multiple, the grid has the nearest number of cells, and windows overlap by a pixel (adaptive pooling).
        alignment: resizing of the maps to the image: `nearest` (the paper), `bilinear`, or `bilinear_corners` with the
            corners' centres aligned (the authors' later code).
        padded: layers whose maps are padded by one reflected pixel before they are resized: a quirk of the authors'
            code that stretches them (`vgg.fed_to_convolution` lists them).

    Attributes:
        groups: groups of `reduced`, in network order.
        grid: rows and columns of the common grid.
        channels: of all layers together.

    Raises:
        InputError: an unknown alignment, or a region larger than the image.

    Example:
        >>> regions = Regions({"a": (8, 32, 32), "b": (16, 8, 8)}, (64, 64), region=4)
        >>> regions.grid, [group.name for group in regions.groups]
        ((16, 16), ['16x16', '8x8'])
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, int, int]],
        image_size: tuple[int, int],
        *,
        region: int = 4,
        alignment: Alignment = "nearest",
        padded: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.alignment: Alignment = alignment
        self._kept: dict[str, tuple[int, int]] = {}
        if alignment not in _MODES:
            raise InputError(f"alignment={alignment!r} is not known; expected {', '.join(_MODES)}")
        if not 1 <= region <= min(image_size):
            raise InputError(f"region: {region} given; expected 1 to {min(image_size)} px, the image's shorter side")
        self.grid = (max(1, round(image_size[0] / region)), max(1, round(image_size[1] / region)))
        self.channels = sum(channels for channels, _, _ in shapes.values())
        self.identity = {
            "regions": {"region": region, "alignment": alignment, "padded": sorted(set(padded) & set(shapes))}
        }
        groups: dict[str, list[str]] = {}
        for layer, (_, *sides) in shapes.items():
            groups.setdefault(self._place(layer, sides, image_size, padded=layer in padded), []).append(layer)
        self.groups = tuple(
            Group(name, tuple(layers), sum(shapes[layer][0] for layer in layers), *self._kept[name])
            for name, layers in groups.items()
        )

    def _place(self, layer: str, sides: Sequence[int], image_size: tuple[int, int], *, padded: bool) -> str:
        """Give a layer its matrices; returns the name of its group."""
        smaller = [side < cells for side, cells in zip(sides, self.grid, strict=True)]
        kept = [min(side, cells) for side, cells in zip(sides, self.grid, strict=True)]
        group = f"{kept[0]}x{kept[1]}" + ("_padded" if padded and any(smaller) else "")
        for axis, (side, size, cells) in enumerate(zip(sides, image_size, self.grid, strict=True)):
            with torch.device("cpu"):  # its numbers count, even where a detector is built without any (`meta`)
                matrix = alignment_matrix(side, size, cells, alignment=self.alignment, padded=padded)
                if side == cells and torch.equal(matrix, torch.eye(cells, dtype=matrix.dtype)):
                    continue
            step, of = ("expand", group) if smaller[axis] else ("reduce", layer)
            self.register_buffer(_buffer(step, of, axis), matrix, persistent=False)
        self._kept[group] = (kept[0], kept[1])
        return group

    @property
    def shapes(self) -> dict[str, tuple[int, int, int]]:
        """(C, h, w) of each group as it is kept."""
        return {group.name: (group.channels, group.height, group.width) for group in self.groups}

    @property
    def split(self) -> list[int]:
        """Channels of each group, in the order in which all features are joined."""
        return [group.channels for group in self.groups]

    def reduced(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Join the maps of each group's layers, on a grid no finer than the common one.

        Args:
            maps: of each layer, [N, C, h, w].

        Returns:
            [N, C, h, w] by group, channels last in memory.
        """
        return {
            group.name: torch.cat(
                [self._multiply("reduce", layer, maps[layer].permute(0, 2, 3, 1)) for layer in group.layers], dim=-1
            ).permute(0, 3, 1, 2)
            for group in self.groups
        }

    def expand(self, group: str, values: Tensor) -> Tensor:
        """Bring values of a group to the common grid.

        These are its features, or linear functions of them, such as a layer's outputs.

        Args:
            group: its name.
            values: on the grid on which the group is kept, [N, h, w, C].

        Returns:
            [N, grid rows, grid columns, C], float32 at least; the same tensor where nothing is to be done.
        """
        return self._multiply("expand", group, values)

    def joined(self, kept: Mapping[str, Tensor]) -> Tensor:
        """Return all regional features, [N, grid rows, grid columns, C], channels in the order of the groups.

        Args:
            kept: result of `reduced`, [N, C, h, w] by group.
        """
        parts = [self.expand(group.name, kept[group.name].permute(0, 2, 3, 1)) for group in self.groups]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def _multiply(self, step: str, of: str, values: Tensor) -> Tensor:
        """Multiply rows, then columns, of values [N, h, w, C] by their matrix, where there is one.

        In float32 at least, whatever the values' type and under autocast too: rounded to bfloat16 the rows of a matrix
        no longer sum to 1.
        """
        rows, columns = (getattr(self, _buffer(step, of, axis), None) for axis in (0, 1))
        if rows is None and columns is None:
            return values
        values = values.to(torch.promote_types(values.dtype, torch.float32))
        count, height, width, channels = values.shape
        with torch.autocast(values.device.type, enabled=False):
            if rows is not None:
                flat = values.reshape(count, height, width * channels)
                values = (rows.to(values.dtype) @ flat).view(count, -1, width, channels)
                height = values.shape[1]
            if columns is not None:
                flat = values.reshape(count * height, width, channels)
                values = (columns.to(values.dtype) @ flat).view(count, height, -1, channels)
        return values


def _buffer(step: str, of: str, axis: int) -> str:
    return f"{step}_{of.replace('.', '_')}_{axis}"


def alignment_matrix(side: int, size: int, cells: int, *, alignment: Alignment, padded: bool = False) -> Tensor:
    """Return the matrix [cells, side], float64, that resizes `side` values to `size` px and averages windows.

    It is computed by doing just that to each unit vector. Its rows sum to 1.

    Args:
        side: number of values of the layer's map along this axis.
        size: of the image along this axis, px.
        cells: number of windows.
        alignment: see `Regions`.
        padded: pad the line by one reflected value on both ends first.
    """
    units = torch.eye(side, dtype=torch.float64)[None]
    if padded:
        units = F.pad(units, (1, 1), mode="reflect")
    return F.adaptive_avg_pool1d(F.interpolate(units, size, **_MODES[alignment]), cells)[0].T.contiguous()


def build_regions(backbone: Backbone, parameters: DFRParameters, image_size: tuple[int, int]) -> Regions:
    """Build the regional features that the parameters select.

    Raises:
        InputError: `padded_maps` with a backbone that is not VGG19 padded by reflection, or regions so large that the
            image has hardly any.
    """
    if parameters.padded_maps and (backbone.name != "vgg19" or parameters.padding != "reflect"):
        raise InputError(
            "padded_maps: true is a quirk of vgg19 with padding=reflect, but backbone is "
            f"{backbone.name} and padding {parameters.padding}; expected false"
        )
    regions = Regions(
        backbone.map_shapes(*image_size),
        image_size,
        region=parameters.region,
        alignment=parameters.alignment,
        padded=fed_to_convolution() if parameters.padded_maps else (),
    )
    if min(regions.grid) < 2:
        height, width = image_size
        raise InputError(
            f"region: {parameters.region} px given; expected at most {min(image_size) * 2 // 3}, so that images of "
            f"{height}x{width} px have two regions along each side"
        )
    return regions
