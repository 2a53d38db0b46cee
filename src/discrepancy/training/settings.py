"""Settings of a training by gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from discrepancy.devices import Precision


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the training loop.

    Attributes:
        epochs: passes over the training images.
        batch_size: images per step; the last, smaller batch of an epoch is used too.
        learning_rate: Adam's; the peak of it with `one_cycle`.
        weight_decay: Adam's L2 penalty.
        schedule: `constant`, or `one_cycle`: up from 1/25 of the rate in the first tenth, by a cosine down to 1/10,000.
        precision: of products on a GPU; `bf16` is mixed precision (autocast), on a CPU too.
        deterministic: whether repeated training on a GPU gives identical weights; see `devices.reproducible`.
        seed: orders the images; tasks draw from it too.
        checkpoint_every: epochs between two checkpoints, or more where one takes long to write; see `CheckpointPace`.
    """

    epochs: int
    batch_size: int
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    schedule: Literal["constant", "one_cycle"] = "constant"
    precision: Precision = "fp32"
    deterministic: bool = False
    seed: int = 0
    checkpoint_every: int = 1
