"""FOD's training task: reconstruction loss, adversarial objective of the correlations, optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from discrepancy.methods.base import TrainingData
from discrepancy.methods.fod.attention_hooks import AdversarialAttention
from discrepancy.methods.fod.correlation import LossWeights
from discrepancy.methods.fod.parameters import FODParameters
from discrepancy.methods.fod.transformer import INTER, INTRA
from discrepancy.methods.fod.zero_gradient_adam import ZeroGradientAdam
from discrepancy.training.feature_task import FeatureTask
from discrepancy.training.task import Batch

if TYPE_CHECKING:
    from discrepancy.methods.fod.model import FOD


def loss_weights(parameters: FODParameters) -> dict[str, LossWeights]:
    """Return the weights of the adversarial objective: the net effect of the paper's two losses with stopped gradients.

    |       | S       | T       | entropy of S |
    | ----- | ------- | ------- | ------------ |
    | intra | ascends | descends| ascends      |
    | inter | descends| ascends | descends     |
    """
    divergence, entropy = parameters.divergence_weight, parameters.entropy_weight
    return {
        INTRA: LossWeights(learnt=-divergence, target=divergence, entropy=-entropy),
        INTER: LossWeights(learnt=divergence, target=-divergence, entropy=entropy),
    }


class FODTask(FeatureTask):
    """Training task of FOD: reconstruct tokens of good images while the correlations are trained adversarially.

    The loss has the gradients of the paper's two losses, added up: twice L_rec, and those of `adversarial_attention`.
    Its value is twice L_rec, because an adversarial objective has no value that decreases. Divergences and entropies
    are recorded apart, as means over levels and layers.

    Args:
        detector: its transformers are trained; on the device already.
        data: the good images' cached tokens.
        watch: called after each epoch with the detector; its result goes to the history.
        resident: keep all features on the device; by default on a GPU where they fit.
    """

    many_small_steps = True

    def __init__(
        self,
        detector: FOD,
        data: TrainingData,
        *,
        watch: Callable[[FOD], Mapping[str, float]] | None = None,
        resident: bool | None = None,
    ) -> None:
        super().__init__(
            data.cached,
            examples=data.examples,
            batch_size=detector.parameters_used.batch_size,
            device=detector.device,
            resident=resident,
        )
        self.detector = detector
        self.watch = watch
        self._adversary = AdversarialAttention({})

    def loss(self, batch: Batch) -> Tensor:
        """Return twice L_rec, plus the adversarial objective if gradients are enabled; summed over the levels."""
        if not torch.is_grad_enabled():
            return 2 * self.detector.reconstruction_loss(batch)
        self._adversary = AdversarialAttention(loss_weights(self.detector.parameters_used))
        loss = 2 * self.detector.reconstruction_loss(batch, self._adversary)
        return loss + self._adversary.pull / self.detector.parameters_used.depth

    def extra_metrics(self) -> dict[str, Tensor]:
        """Return J and H of each branch, of the last training batch."""
        attentions = self.detector.parameters_used.depth * len(self.detector.levels)
        return {
            f"{branch}_{name}": tally[index] / attentions
            for branch, tally in self._adversary.tallies.items()
            for index, name in enumerate(("divergence", "entropy"))
        }

    def after_epoch(self) -> Mapping[str, float]:
        """Return the result of `watch`."""
        return self.watch(self.detector) if self.watch else {}


def build_optimiser(transformers: nn.ModuleList, parameters: FODParameters) -> torch.optim.Optimizer:
    """Return Adam, or the variant of the authors' program with PyTorch 1 (`zero_gradient_steps`)."""
    options: dict[str, Any] = {
        "lr": parameters.learning_rate,
        "weight_decay": parameters.weight_decay,
        "fused": True,
    }
    if parameters.zero_gradient_steps:
        return ZeroGradientAdam(list(transformers), **options)
    return torch.optim.Adam(transformers.parameters(), **options)
