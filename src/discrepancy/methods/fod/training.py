"""What the training loop is told of FOD: reconstruction, the game between correlations and targets, the optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from discrepancy.features.cache import Features
from discrepancy.methods.fod.attention_hooks import AdversarialAttention
from discrepancy.methods.fod.correlation import LossWeights
from discrepancy.methods.fod.model import FOD
from discrepancy.methods.fod.parameters import FODParameters
from discrepancy.methods.fod.transformer import INTER, INTRA
from discrepancy.methods.fod.zero_gradient_adam import ZeroGradientAdam
from discrepancy.training.feature_task import FeatureTask
from discrepancy.training.loop import Batch


def loss_weights(parameters: FODParameters) -> dict[str, LossWeights]:
    """Who pulls where: the net effect of the paper's two losses with stopped gradients.

    |       | S       | T       | entropy of S |
    | ----- | ------- | ------- | ------------ |
    | intra | climbs  | descends| climbs       |
    | inter | descends| climbs  | descends     |
    """
    divergence, entropy = parameters.divergence_weight, parameters.entropy_weight
    return {
        INTRA: LossWeights(learnt=-divergence, target=divergence, entropy=-entropy),
        INTER: LossWeights(learnt=divergence, target=-divergence, entropy=entropy),
    }


class FODTask(FeatureTask):
    """What the training loop is told: tokens of good images, to be reconstructed while the correlations play.

    The loss has the gradients of the paper's two, added up: twice L_rec, and the game (`adversarial_attention`). Its
    value is twice L_rec: a game has nothing that goes down. What it is about is noted apart, means over levels and
    layers.

    Args:
        detector: its transformers are trained; on the device already.
        features: cached tokens of good images: training images first, then validation images.
        examples: number of training images.
        watch: called after each epoch with the detector; what it returns goes to the history.
        resident: keep all features on the device; by default on a GPU where they fit.
    """

    detector: FOD

    def __init__(
        self,
        detector: FOD,
        features: Features,
        *,
        examples: int,
        watch: Callable[[FOD], Mapping[str, float]] | None = None,
        resident: bool | None = None,
    ) -> None:
        super().__init__(detector, features, examples=examples, resident=resident)
        self.watch = watch
        self._game = AdversarialAttention({})

    def loss(self, batch: Batch) -> Tensor:
        """Twice L_rec, and the game where there are gradients; summed over the levels."""
        if not torch.is_grad_enabled():
            return 2 * self.detector.reconstruction_loss(batch)
        self._game = AdversarialAttention(loss_weights(self.detector.parameters_used))
        loss = 2 * self.detector.reconstruction_loss(batch, self._game)
        return loss + self._game.pull / self.detector.parameters_used.depth

    def noted(self) -> dict[str, Tensor]:
        """J and H of each branch, of the batch just trained on."""
        attentions = self.detector.parameters_used.depth * len(self.detector.levels)
        return {
            f"{branch}_{name}": tally[index] / attentions
            for branch, tally in self._game.tallies.items()
            for index, name in enumerate(("divergence", "entropy"))
        }

    def after_epoch(self) -> Mapping[str, float]:
        """What the watcher says."""
        return self.watch(self.detector) if self.watch else {}


def build_optimiser(detector: FOD) -> torch.optim.Optimizer:
    """Adam, or what the authors' program makes of it with PyTorch 1 (`zero_gradient_steps`)."""
    parameters = detector.parameters_used
    options: dict[str, Any] = {
        "lr": parameters.learning_rate,
        "weight_decay": parameters.weight_decay,
        "fused": True,
    }
    if parameters.zero_gradient_steps:
        return ZeroGradientAdam(list(detector.transformers), **options)
    return torch.optim.Adam(detector.transformers.parameters(), **options)
