"""PaDiM's embedding: which channels, on which grid."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from discrepancy.errors import InputError
from discrepancy.methods.padim.embedding import Embedding

SHAPES = {"fine": (3, 8, 12), "middle": (4, 4, 6), "coarse": (5, 2, 3)}


def random_maps(count=2):
    generator = torch.Generator().manual_seed(0)
    return {layer: torch.randn(count, *shape, generator=generator) for layer, shape in SHAPES.items()}


def slow_embedding(maps):
    """All channels at each position of the finest grid, taken by loops."""
    joined = np.empty((2, 8, 12, 12))
    for row in range(8):
        for column in range(12):
            cells = [maps["fine"][:, :, row, column], maps["middle"][:, :, row // 2, column // 2]]
            cells.append(maps["coarse"][:, :, row // 4, column // 4])
            joined[:, row, column] = torch.cat(cells, 1)
    return joined


def test_all_channels_are_joined_on_the_finest_grid():
    maps = random_maps()
    embedding = Embedding(SHAPES, None, seed=0)
    assert (embedding.channels, embedding.grid) == (12, (8, 12))
    np.testing.assert_array_equal(embedding(maps), slow_embedding(maps).astype(np.float32))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(0, 2**63 - 1))
def test_a_draw_is_some_of_the_channels_each_once_and_the_same_again(channels, seed):
    maps = random_maps()
    drawn = Embedding(SHAPES, channels, seed=seed)(maps)
    assert drawn.shape == (2, 8, 12, channels)
    everything = slow_embedding(maps).astype(np.float32)
    places = [np.flatnonzero((everything == drawn[..., [c]].numpy()).all((0, 1, 2))) for c in range(channels)]
    assert all(len(place) == 1 for place in places)
    assert len({int(place[0]) for place in places}) == channels
    torch.testing.assert_close(Embedding(SHAPES, channels, seed=seed)(maps), drawn, rtol=0, atol=0)


def test_seeds_draw_different_channels_and_every_channel_is_drawn_by_some():
    maps = {}
    for index, (layer, (channels, *grid)) in enumerate(SHAPES.items()):
        maps[layer] = (10 * index + torch.arange(channels))[None, :, None, None].float().expand(1, channels, *grid)
    draws = {tuple(Embedding(SHAPES, 6, seed=seed)(maps)[0, 0, 0].int().tolist()) for seed in range(20)}
    assert len(draws) > 15
    assert {channel for draw in draws for channel in draw} == {0, 1, 2, 10, 11, 12, 13, 20, 21, 22, 23, 24}


def test_more_channels_than_there_are_are_refused():
    with pytest.raises(InputError, match="channels: 13 given; expected at most 12, as many as fine, middle, coarse"):
        Embedding(SHAPES, 13, seed=0)
