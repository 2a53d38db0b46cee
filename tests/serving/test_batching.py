"""Waiting requests share a pass of the graph, and each gets its own answer, or its error."""

import asyncio
import threading
import time

import numpy as np
import pytest

from discrepancy.serving.batching import Batcher


class Slow:
    """A graph whose score is the first pixel; it waits until it is let go."""

    def __init__(self):
        self.sizes, self.go = [], threading.Event()

    def score(self, images):
        self.sizes.append(len(images))
        assert self.go.wait(5)
        if (images == 13).any():
            raise RuntimeError("thirteen")
        return images[:, 0].astype(np.float32), images[:, 0, 0, 0].astype(np.float32)


def image(value):
    return np.full((3, 4, 4), value, np.uint8)


async def started(graph, count):
    while len(graph.sizes) < count:
        await asyncio.sleep(0.001)


def test_those_that_wait_go_together_and_the_first_waits_for_nobody():
    async def run():
        graph = Slow()
        async with Batcher(graph, 4) as batcher:
            first = asyncio.create_task(batcher.score(image(0)))
            await started(graph, 1)
            others = [asyncio.create_task(batcher.score(image(value))) for value in range(1, 8)]
            await asyncio.sleep(0.01)
            assert graph.sizes == [1]
            graph.go.set()
            answers = await asyncio.gather(first, *others)
        assert graph.sizes == [1, 4, 3]
        assert [answer.score for answer in answers] == list(range(8))
        assert all((answer.anomaly_map == value).all() for value, answer in enumerate(answers))

    asyncio.run(run())


def test_an_error_is_that_of_its_batch_alone():
    async def run():
        graph = Slow()
        graph.go.set()
        async with Batcher(graph, 1) as batcher:
            tasks = [asyncio.create_task(batcher.score(image(value))) for value in (1, 13, 2)]
            found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [found[0].score, found[2].score] == [1, 2]
        assert isinstance(found[1], RuntimeError)

    asyncio.run(run())


def test_a_client_that_has_gone_takes_nobody_along():
    async def run():
        graph = Slow()
        async with Batcher(graph, 4) as batcher:
            first = asyncio.create_task(batcher.score(image(1)))
            await started(graph, 1)
            gone, stays = (asyncio.create_task(batcher.score(image(value))) for value in (2, 3))
            await asyncio.sleep(0.01)
            gone.cancel()
            first.cancel()
            graph.go.set()
            assert (await stays).score == 3
        assert graph.sizes == [1, 1]

    asyncio.run(run())


@pytest.mark.parametrize("values", [[5], [5, 6]])
def test_seconds_are_a_share_of_the_batch(values):
    async def run():
        graph = Slow()
        graph.go.set()
        start = time.perf_counter()
        async with Batcher(graph, 4) as batcher:
            answers = await asyncio.gather(*(batcher.score(image(value)) for value in values))
        whole = time.perf_counter() - start
        assert all(answer.seconds > 0 for answer in answers)
        assert sum(answer.seconds for answer in answers) <= whole

    asyncio.run(run())
