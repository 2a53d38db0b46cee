"""The estimate of a training's memory, against a count by hand; and that it is told."""

import logging

import pytest
import torch
from torch import nn

from discrepancy.device_memory import announce
from discrepancy.training.memory_estimate import training_bytes


class Network(nn.Module):
    """Two layers on top of a frozen one."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.trained = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 1))


def loss_of(network):
    return lambda batch: network.trained(network.frozen(batch["x"])).square().mean()


@pytest.mark.parametrize("images", [10, 1000])
def test_it_is_the_count_by_hand(images):
    network = Network()
    counted = training_bytes(network, network.trained, loss_of(network), {"x": torch.zeros(images, 8)})
    frozen, trained = 8 * 8 + 8, 8 * 64 + 64 + 64 + 1
    # The output of the frozen layer, that of the ReLU (its own input is not kept), the last output before its square.
    kept = [images * 8, images * 64, images]
    assert counted == 4 * (frozen + 4 * trained + sum(kept) + 2 * max(kept) + images * 8)


def test_nothing_is_computed_and_nothing_changes():
    network = Network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    training_bytes(network, network.trained, loss_of(network), {"x": torch.full((2, 8), torch.nan)})
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_training_that_does_not_fit_is_told_with_what_to_lower(caplog):
    caplog.set_level(logging.INFO)
    announce("dfc: training", 3 * 2**30, 4 * 2**30, ["a smaller image_size"])
    announce("dfc: training", 5 * 2**30, 4 * 2**30, ["a smaller image_size", "dfc.device=cpu"])
    fits, too_large = caplog.records
    assert fits.getMessage() == "dfc: training needs about 3.0 GiB of GPU memory; 4.0 GiB are free"
    assert too_large.levelname == "WARNING"
    assert too_large.getMessage().endswith("Expected a smaller image_size or dfc.device=cpu")
