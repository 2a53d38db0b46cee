"""A detector as one ONNX graph: images in, anomaly maps and image scores out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn

from discrepancy.errors import InputError
from discrepancy.methods.base import Method

OPSET: Final = 18
"""Version of ONNX's operators: that of PyTorch's exporter, which ONNX Runtime knows since 1.14."""
LARGEST: Final = 1.9e9
"""Bytes of a detector's tensors: those of an ONNX file, in one message of protobuf, end at 2 GB."""
INPUT: Final = "images"
OUTPUTS: Final = ("maps", "scores")


class ScoringGraph(nn.Module):
    """All that is exported of a method: from bytes of images to maps and scores.

    Args:
        method: fitted.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return anomaly maps [N, H, W] and image scores [N] of images uint8 [N, 3, H, W], RGB."""
        scored = self.method.scored(self.method.backbone(images), images)
        return scored.maps, scored.image_scores


def onnx_graph(method: Method) -> bytes:
    """Export a detector as an ONNX model: uint8 `images` [N, 3, H, W] to float32 `maps` [N, H, W] and `scores` [N].

    N is free. Batch normalisation is folded into convolutions. The graph computes in float32 whatever the precision of
    the training was.

    Args:
        method: fitted; it is moved to the CPU.

    Raises:
        InputError: the packages of the extra `export` are missing.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError("export: onnx and onnxscript are missing; expected `pip install -e '.[export]'`") from error
    size = sum(tensor.nbytes for tensor in method.state_dict().values())
    if size > LARGEST:
        raise InputError(
            f"export: the detector's tensors take {size / 1e9:.1f} GB; expected at most {LARGEST / 1e9:g}, as an ONNX "
            "file holds. PaDiM's grow with the square of padim.channels"
        )
    method = method.to("cpu").eval()
    images = torch.zeros(2, 3, *method.image_size, dtype=torch.uint8)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            ScoringGraph(method).eval(),
            (images,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes={INPUT: {0: torch.export.Dim("N")}},
        )
    assert program is not None  # it is, with dynamo
    model = program.model_proto
    model.doc_string = f"{method.title}, {method.card.dataset}/{method.card.category}"
    return bytes(model.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter tells of itself."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
