"""The MLflow run that is being recorded: everything that a run logs goes through it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Any, NamedTuple


class TestData(NamedTuple):
    """Name and digest of the test data, as MLflow knows them."""

    name: str
    digest: str


class RunRecord:
    """A run of MLflow, written to by its id, as steps may be in threads of their own.

    Args:
        client: MLflow's.
        run_id: of the run.

    Attributes:
        model_id: of the run's model, once there is one.
        test_data: of the run, once it is known.
    """

    def __init__(self, client: Any, run_id: str) -> None:
        self.client = client
        self.run_id = run_id
        self.model_id: str | None = None
        self.test_data: TestData | None = None
        self._earlier: dict[str, tuple[float, int, int]] = {}
        self._lock = Lock()

    def log_metrics(self, values: Mapping[str, float], *, tested: bool = False) -> None:
        """Log numbers by name, linked to the run's model.

        Args:
            values: the numbers.
            tested: whether they come from the test data, to which they are linked then.
        """
        stamp = _now()
        self._log([(name, float(value), stamp, 0) for name, value in values.items()], tested=tested)

    def log_epochs(self, history: Mapping[str, Iterable[tuple[int, float]]]) -> None:
        """Log numbers by epoch: for each name pairs of epoch and value."""
        stamp = _now()
        self._log([(name, value, stamp, epoch) for name, pairs in history.items() for epoch, value in pairs])

    def link_model(self, model_id: str) -> None:
        """Link a model to the run: the last value of every metric, and all that are logged from now on, are its own."""
        with self._lock:
            self.model_id = model_id
            earlier, self._earlier = self._earlier, {}
        self._log([(name, *point) for name, point in earlier.items()])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tag the run."""
        from mlflow.entities import RunTag

        self.client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def _log(self, points: list[tuple[str, float, int, int]], *, tested: bool = False) -> None:
        from mlflow.entities import Metric

        with self._lock:
            if self.model_id is None:
                self._earlier |= {name: point for name, *point in points}  # type: ignore[misc]
        linked: dict[str, Any] = {"model_id": self.model_id, "run_id": self.run_id} if self.model_id else {}
        if tested and self.test_data:
            linked |= {"dataset_name": self.test_data.name, "dataset_digest": self.test_data.digest}
        metrics = [Metric(*point, **linked) for point in points]
        for start in range(0, len(metrics), 1000):  # the most that one call takes
            self.client.log_batch(self.run_id, metrics=metrics[start : start + 1000])


def _now() -> int:
    return time.time_ns() // 10**6
