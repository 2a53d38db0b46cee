"""FOD's transformer for one grid of tokens: reconstruction from correlations between tokens (ICCV 2023).

Each layer attends twice: to the tokens of the same image (intra-correlations) and to those of a mean normal image
(inter-correlations). The tokens are reconstructed at the end (the patch-wise branch).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from discrepancy.errors import InputError
from discrepancy.methods.fod.correlation import attention
from discrepancy.methods.fod.targets import Gaussians

INTRA, INTER = "intra", "inter"


class Shape(NamedTuple):
    """The sizes of a network.

    Attributes:
        channels: of a token's features.
        grid: rows and columns of tokens.
        width: of an embedded token; a multiple of 4 and of the heads.
        heads: of every attention.
        depth: number of layers.
    """

    channels: int
    grid: tuple[int, int]
    width: int
    heads: int
    depth: int


class AttentionFn(Protocol):
    """Attention function of a branch; implementations may record weights and targets, or add gradients."""

    def __call__(
        self, branch: str, queries: Tensor, keys: Tensor, values: Tensor, gaussians: Callable[[], Gaussians]
    ) -> Tensor:
        """Compute attention from queries, keys, values [N, heads, tokens, width] of a branch -> the same shape.

        `gaussians` computes the targets' widths, [N, heads, tokens, 2], if they are needed.
        """


def plain_attention(
    branch: str, queries: Tensor, keys: Tensor, values: Tensor, gaussians: Callable[[], Gaussians]
) -> Tensor:
    """Compute attention and nothing else."""
    del branch, gaussians
    return attention(queries, keys, values)


class CorrelationAttention(nn.Module):
    """Attention of one branch: its projections, and the widths of its Gaussian targets.

    Args:
        branch: `intra` or `inter`.
        shape: of the network.
        with_output: project the output once more, as in the paper's figure; its program discards that projection.
    """

    def __init__(self, branch: str, shape: Shape, *, with_output: bool) -> None:
        super().__init__()
        self.branch = branch
        self.heads = shape.heads
        self.grid = shape.grid
        self.queries = nn.Linear(shape.width, shape.width)
        self.keys_values = nn.Linear(shape.width, 2 * shape.width)
        self.spreads = nn.Linear(shape.width, 2 * shape.heads)
        self.output = nn.Linear(shape.width, shape.width) if with_output else nn.Identity()

    def forward(self, tokens: Tensor, others: Tensor, attention: AttentionFn) -> Tensor:
        """Attend from tokens [N, tokens, width] to others [N or 1, tokens, width]: [N, tokens, width]."""
        queries = self._by_head(self.queries(tokens))
        keys, values = (self._by_head(part).expand_as(queries) for part in self.keys_values(others).chunk(2, -1))
        # The matrices tokens x tokens stay in float32: eps is 1e-4 and their entries are near 1 / tokens.
        with torch.autocast(tokens.device.type, enabled=False):
            found = attention(self.branch, queries, keys, values, lambda: self.gaussians(tokens))
        return self.output(found.transpose(1, 2).flatten(2))

    def gaussians(self, tokens: Tensor) -> Gaussians:
        """Return the Gaussians around tokens [N, tokens, width], in every head; sigma = 3^(sigmoid(5 s) + 1e-5) - 1."""
        spreads = self._by_head(self.spreads(tokens.to(self.spreads.weight.dtype)))  # [N, heads, tokens, 2]
        return Gaussians(3 ** (torch.sigmoid(5 * spreads) + 1e-5) - 1, self.grid)

    def _by_head(self, values: Tensor) -> Tensor:
        """Split heads: [N, tokens, heads x width] -> [N, heads, tokens, width], float32 at least."""
        values = values.to(torch.promote_types(values.dtype, torch.float32))
        return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class CorrelationLayer(nn.Module):
    """One layer: the difference of the two attentions, then a small network for each token.

    With both branches z = (x + intra) - (x + inter): x cancels. One branch alone keeps its x; with none z = x.

    Args:
        shape: of the network.
        branches: those in use, out of `intra` and `inter`, in this order.
        as_figure: add x, and project the attentions' output.
    """

    def __init__(self, shape: Shape, branches: Sequence[str], *, as_figure: bool) -> None:
        super().__init__()
        self.attentions = nn.ModuleDict(
            {branch: CorrelationAttention(branch, shape, with_output=as_figure) for branch in branches}
        )
        self.as_figure = as_figure
        width = shape.width
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor, reference: Tensor, attention: AttentionFn) -> Tensor:
        """Transform tokens [N, tokens, width] by a reference [1, tokens, width], both embedded."""
        others = {INTRA: tokens, INTER: reference}
        found = [layer(tokens, others[name], attention) for name, layer in self.attentions.items()]
        mixed = self.first_norm(self._mixed(tokens, found))
        return self.second_norm(mixed + self.feed_forward(mixed))

    def _mixed(self, tokens: Tensor, found: Sequence[Tensor]) -> Tensor:
        """Return z from the tokens and the attention of each branch; all [N, tokens, width]."""
        if len(found) < len((INTRA, INTER)):
            return tokens + found[0] if found else tokens
        difference = found[0] - found[1]
        return tokens + difference if self.as_figure else difference


class CorrelationTransformer(nn.Module):
    """The network of one grid: embedding with a position code, layers, reconstruction.

    Without `as_figure` it has no output projections: in the authors' program their results are discarded.

    Args:
        shape: its sizes.

        branches: those in use, out of `intra` and `inter`.
        as_figure: see `CorrelationLayer`.

    Raises:
        InputError: a width that is no multiple of 4 and of the number of heads.
    """

    position: Tensor

    def __init__(self, shape: Shape, branches: Sequence[str], *, as_figure: bool = False) -> None:
        super().__init__()
        if shape.width % 4 or shape.width % shape.heads:
            raise InputError(
                f"widths: {shape.width} given; expected multiples of 4 and of the number of heads, {shape.heads}"
            )
        self.embedding = _embedding(shape)
        self.reference_embedding = _embedding(shape) if INTER in branches else None
        self.register_buffer("position", position_code(shape.width, shape.grid), persistent=False)
        self.layers = nn.ModuleList(CorrelationLayer(shape, branches, as_figure=as_figure) for _ in range(shape.depth))
        self.head = nn.Sequential(nn.LayerNorm(shape.width), nn.Linear(shape.width, shape.channels))

    def forward(self, tokens: Tensor, reference: Tensor, attention: AttentionFn = plain_attention) -> Tensor:
        """Reconstruct tokens.

        Args:
            tokens: features of images, [N, tokens, channels].
            reference: those of the mean normal image, [tokens, channels]; embedded once for all images.
            attention: the attention function of all layers.

        Returns:
            [N, tokens, channels].
        """
        x = self.embedding(tokens) + self.position
        r = x if self.reference_embedding is None else (self.reference_embedding(reference) + self.position)[None]
        for layer in self.layers:
            x = layer(x, r, attention)
        return self.head(x)


def _embedding(shape: Shape) -> nn.Linear:
    """Build the embedding of features; Kaiming normal by the inputs, as in the paper's program."""
    layer = nn.Linear(shape.channels, shape.width)
    nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="leaky_relu")
    return layer


def position_code(width: int, grid: tuple[int, int]) -> Tensor:
    """Return sines and cosines of each token's place, [tokens, width].

    The first half of the channels encodes the column, the second the row. In each, channels 2 i and 2 i + 1 are sine
    and cosine of place / 10000^(2 i / (width / 2)).

    Args:
        width: of a token, a multiple of 4.
        grid: rows and columns of tokens.
    """
    rates = 1e4 ** (-torch.arange(0, width // 2, 2, dtype=torch.float64) / (width // 2))
    lines = [torch.arange(cells)[:, None] * rates for cells in grid]
    rows, columns = (torch.stack([line.sin(), line.cos()], -1).flatten(1).float() for line in lines)
    pairs = [columns.expand(grid[0], -1, -1), rows[:, None].expand(-1, grid[1], -1)]
    return torch.cat(pairs, -1).flatten(0, 1)
