"""Photographs through a network: decoded in threads ahead of it, results finished in threads behind it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from discrepancy.data.images import ImageSize, ResizeCrop, fit_image
from discrepancy.data.lazy_array import usable_cores
from discrepancy.detection.scoring import LazyScores
from discrepancy.device_memory import images_at_once
from discrepancy.errors import InputError
from discrepancy.methods.base import Method
from discrepancy.prediction.results import Prediction, Unreadable
from discrepancy.prediction.sources import Photograph

Finished = TypeVar("Finished")

AHEAD = 2
"""Batches that are decoded while the network is at work; as many results may wait for the caller."""


class _Decoded(NamedTuple):
    photograph: Photograph
    pixels: NDArray[np.uint8]
    size: ImageSize


def examine(
    method: Method,
    photographs: Iterable[Photograph],
    finish: Callable[[Prediction | Unreadable], Finished],
    *,
    resize_crop: ResizeCrop,
    bits: int | None,
    device: torch.device,
    batch_size: int,
    workers: int | None = None,
) -> Iterator[Finished]:
    """Yield the finished result of each photograph, in their order. Memory does not grow with their number.

    Args:
        method: a detector with thresholds.
        photographs: read ahead by two batches.
        finish: gets each result, in a thread; what it returns is yielded.
        resize_crop: geometry of the detector's input.
        bits: that 16-bit photographs use; None: as each file declares.
        device: of the network.
        batch_size: photographs of up to 256x256 px, as the network sees them, per forward pass; of larger ones fewer.
        workers: threads besides the network's; by default one per usable core.

    Raises:
        InputError: a GPU's memory is too small for one image.
    """

    batch_size = images_at_once(batch_size, *method.image_size)
    entry = method.card.decision.image
    threshold, calibration = entry.value, entry.calibration
    segmentation = method.card.decision.pixel.segmentation
    if calibration is not None:
        calibration.false_alarm_probability([threshold])  # fits the tail here, not in every thread at once

    def decode(photograph: Photograph) -> _Decoded | Unreadable:
        try:
            image = photograph.read(bits)
        except InputError as error:
            return Unreadable(photograph.name, str(error))
        return _Decoded(photograph, fit_image(image, resize_crop), (image.height, image.width))

    def complete(decoded: _Decoded, small_map: NDArray[np.float32], score: float, seconds: float) -> Finished:
        likely = calibration.false_alarm_probability([score])[0] if calibration else math.nan
        prediction = Prediction(
            decoded.photograph.name,
            score,
            threshold,
            decoded.size,
            seconds,
            float(likely),
            segmentation,
            small_map,
            resize_crop,
            decoded.photograph,
            bits,
        )
        with prediction.pixels_kept():
            _ = prediction.regions  # here, in a thread
            return finish(prediction)

    source = iter(photographs)
    pool = ThreadPoolExecutor(workers or usable_cores(), thread_name_prefix="predict")
    decoding: deque[Future[_Decoded | Unreadable]] = deque()
    finishing: deque[Future[Finished]] = deque()

    def decode_ahead() -> None:
        missing = AHEAD * batch_size - len(decoding)
        decoding.extend(pool.submit(decode, photograph) for photograph in islice(source, missing))

    try:
        decode_ahead()
        while decoding:
            batch = [decoding.popleft().result() for _ in range(min(batch_size, len(decoding)))]
            decode_ahead()
            good = [item for item in batch if isinstance(item, _Decoded)]
            scored = iter(_scored(method, [item.pixels for item in good], device, batch_size))
            for item in batch:
                if isinstance(item, Unreadable):
                    finishing.append(pool.submit(finish, item))
                else:
                    finishing.append(pool.submit(complete, item, *next(scored)))
            while finishing and (len(finishing) > AHEAD * batch_size or finishing[0].done()):
                yield finishing.popleft().result()
        while finishing:
            yield finishing.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _scored(
    method: Method, pixels: list[NDArray[np.uint8]], device: torch.device, batch_size: int
) -> Iterator[tuple[NDArray[np.float32], float, float]]:
    """Yield map, score and seconds of each image."""
    if not pixels:
        return
    scored = LazyScores(method, np.stack(pixels), device, batch_size).computed()
    for small_map, score in zip(scored.maps, scored.image_scores, strict=True):
        yield np.array(small_map), float(score), scored.seconds / len(pixels)
