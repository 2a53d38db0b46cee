"""Requests that wait go through the graph together; nobody waits for others to come."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from discrepancy.export.detect import Bundle, Map, Pixels
from discrepancy.serving.prometheus_metrics import BATCHES


class Scored(NamedTuple):
    """Anomaly map float32 [H, W], score, and the seconds of the graph for this photograph, its share of a batch."""

    anomaly_map: Map
    score: float
    seconds: float


class _Waiting(NamedTuple):
    pixels: Pixels
    answer: asyncio.Future[Scored]


class Batcher:
    """Scores images, as many at once as have come while the graph was at work.

    Args:
        bundle: the detector.
        batch_size: images per pass, at most.
    """

    def __init__(self, bundle: Bundle, batch_size: int) -> None:
        self._bundle = bundle
        self._batch_size = batch_size
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="graph")
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Batcher:
        """Begin to work."""
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *failure: object) -> None:
        """Stop; the server has answered all requests by then."""
        assert self._task is not None
        self._task.cancel()
        self._thread.shutdown(wait=True)

    async def score(self, pixels: Pixels) -> Scored:
        """Return map and score of an image uint8 [3, H, W]."""
        answer: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Waiting(pixels, answer))
        return await answer

    async def _work(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self._batch_size and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._answer([item for item in batch if not item.answer.cancelled()])

    async def _answer(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        BATCHES.observe(len(batch))
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            maps, scores = await loop.run_in_executor(
                self._thread, self._bundle.score, np.stack([item.pixels for item in batch])
            )
        except Exception as error:  # each request has the error; the next ones are served
            for item in batch:
                if not item.answer.done():
                    item.answer.set_exception(error)
            return
        seconds = (loop.time() - start) / len(batch)
        for item, anomaly_map, score in zip(batch, maps, scores, strict=True):
            if not item.answer.done():
                item.answer.set_result(Scored(anomaly_map, float(score), seconds))
