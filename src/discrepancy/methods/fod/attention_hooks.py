"""Attention functions of FOD for training, scoring and visualisation.

Each class is an `AttentionFn`: it computes attention and records what its purpose needs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from discrepancy.methods.fod.correlation import (
    LossWeights,
    adversarial_attention,
    attention,
    attention_weights,
    attention_with_divergence,
    divergence,
)
from discrepancy.methods.fod.targets import Gaussians, Targets


class AdversarialAttention:
    """Attention for training: adversarial objective between learnt correlations and targets.

    Args:
        loss_weights: weights of the adversarial objective, by branch.

    Attributes:
        pull: scalar of value 0 to be added to the loss; the sum over all attentions computed.
        tallies: by branch [2], sums over all attentions of the mean J and the mean H; filled by the backward pass.
    """

    def __init__(self, loss_weights: Mapping[str, LossWeights]) -> None:
        self.loss_weights = loss_weights
        self.pull: Tensor | float = 0.0
        self.tallies: dict[str, Tensor] = {}

    def __call__(
        self, branch: str, queries: Tensor, keys: Tensor, values: Tensor, gaussians: Callable[[], Gaussians]
    ) -> Tensor:
        """Compute the attention, see `AttentionFn`."""
        if branch not in self.tallies:
            self.tallies[branch] = queries.new_zeros(2)
        output, pull = adversarial_attention(
            queries, keys, values, gaussians(), self.loss_weights[branch], self.tallies[branch]
        )
        self.pull = self.pull + pull
        return output


class DivergenceRecorder:
    """Attention for scoring: divergence of the correlations from their targets, for some branches.

    Args:
        branches: those to be compared; the others are only computed.
    """

    def __init__(self, branches: Collection[str]) -> None:
        self.branches = branches
        self.divergences: dict[str, list[Tensor]] = {branch: [] for branch in branches}

    def __call__(
        self, branch: str, queries: Tensor, keys: Tensor, values: Tensor, gaussians: Callable[[], Gaussians]
    ) -> Tensor:
        """Compute the attention, see `AttentionFn`."""
        if branch not in self.branches:
            return attention(queries, keys, values)
        output, divergences = attention_with_divergence(queries, keys, values, gaussians())
        self.divergences[branch].append(divergences)
        return output

    def mean(self, branch: str) -> Tensor:
        """Return J_i, mean over heads and layers, [N, tokens]."""
        return torch.stack(self.divergences[branch]).mean(0)


class Correlation(NamedTuple):
    """Correlations of some tokens with all tokens of a grid.

    Attributes:
        learnt: [chosen tokens, grid rows, grid columns], each sums to 1.
        target: the same.
        divergence: J between the two, [chosen tokens].
    """

    learnt: Tensor
    target: Tensor
    divergence: Tensor


class AttentionMapRecorder:
    """Attention for figures: the correlations of a few tokens of one image, means over heads and layers.

    Args:
        tokens: their indices, int64 [chosen tokens].
    """

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens
        self.seen: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {}

    def __call__(
        self, branch: str, queries: Tensor, keys: Tensor, values: Tensor, gaussians: Callable[[], Gaussians]
    ) -> Tensor:
        """Compute the attention, see `AttentionFn`."""
        chosen = queries[0].index_select(1, self.tokens)
        learnt = attention_weights(chosen, keys[0])
        rows, columns = (part[0].index_select(1, self.tokens) for part in gaussians().targets())
        target = Targets(rows, columns).dense()
        entry = (learnt.mean(0), target.mean(0), divergence(learnt, target).mean(0))
        self.seen.setdefault(branch, []).append(entry)
        return attention(queries, keys, values)

    def means(self, grid: tuple[int, int]) -> dict[str, Correlation]:
        """Return the correlations by branch, on a grid of rows and columns."""
        found = {}
        for branch, entries in self.seen.items():
            learnt, target, divergences = (torch.stack(part).mean(0) for part in zip(*entries, strict=True))
            found[branch] = Correlation(learnt.unflatten(-1, grid), target.unflatten(-1, grid), divergences)
        return found
