"""MLflow runs of living processes: a killed run does not stay RUNNING."""

from __future__ import annotations

import atexit
import logging
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from discrepancy.atomic import abandoned, claimed
from discrepancy.datasets.origin import read_note, write_note
from discrepancy.tracking.address import database_uri

logger = logging.getLogger(__name__)

FOLDER: Final = ".running"
"""Folder in the project with a folder for each run in progress, locked by its process."""
TAG: Final = "discrepancy.process"
_NOTE: Final = "run.json"


class LiveRun:
    """An MLflow run of this process: if the process ends before `end`, the run ends as KILLED.

    Ctrl+C and SIGTERM end it at once; after a kill -9, or a power cut, the next start of the project does.

    Args:
        project: the project's folder.
        client: MLflow's.
        experiment: the id of an experiment.
        tags: of the run.
        run_id: of an existing run that goes on; None begins one.
    """

    def __init__(
        self,
        project: Path,
        client: Any,
        experiment: str,
        tags: Mapping[str, str],
        *,
        run_id: str | None = None,
    ) -> None:
        self._client = client
        self._stack = ExitStack()
        folder = self._stack.enter_context(_place(project))
        # The note comes first, and the tag with the run: at no time could a kill leave a run that nobody knows of.
        token = folder.name if folder else ""
        if folder:
            own = client.tracking_uri == database_uri(project)  # which moves with the project
            note = {
                "tracking_uri": None if own else client.tracking_uri,
                "experiment": experiment,
                "token": token,
                "run_id": run_id,
            }
            write_note(folder / _NOTE, note)
        if run_id is None:
            run_id = str(client.create_run(experiment, tags={**tags, TAG: token}).info.run_id)
        else:
            client.update_run(run_id, status="RUNNING")
        self.run_id = run_id
        self._signal: int | None = None
        self._stack.enter_context(self._noting_signals())
        atexit.register(self.kill)

    def kill(self) -> None:
        """End the run as KILLED, unless it has ended."""
        import mlflow

        try:
            active = mlflow.active_run()
            if active and active.info.run_id == self.run_id:
                mlflow.end_run("KILLED")  # or MLflow ends it as FINISHED when the process ends
            elif self._signal or self._client.get_run(self.run_id).info.status == "RUNNING":
                self._client.set_terminated(self.run_id, "KILLED")
        except Exception as error:  # the process is ending: the next start tries again
            logger.debug("MLflow could not be told that the run was interrupted: %s", error)
            atexit.unregister(self.kill)
            return
        self.end()

    def end(self) -> None:
        """Record that the run has ended, in any state."""
        atexit.unregister(self.kill)
        self._stack.close()

    def raise_if_interrupted(self) -> None:
        """End the run as KILLED, and this process as the signal does, if one came that did not end it.

        Compiled code that calls Python may turn the exception of a signal handler into an error of its own.

        Raises:
            KeyboardInterrupt: Ctrl+C came.
            SystemExit: SIGTERM came.
        """
        if (number := self._signal) is None:
            return
        self.kill()
        _raise(number)

    @contextmanager
    def _noting_signals(self) -> Iterator[None]:
        """Note SIGINT and SIGTERM; both end this process by an exception, so that what is to be done then is done."""
        ours: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        if threading.current_thread() is not threading.main_thread():
            ours = {}
        ours = {number: handler for number, handler in ours.items() if signal.getsignal(number) == handler}

        def note(number: int, frame: FrameType | None) -> None:
            self._signal = number
            _raise(number)

        for number in ours:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in ours.items():
                if threading.current_thread() is threading.main_thread():
                    signal.signal(number, handler)


def _raise(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def end_killed(project: Path) -> int:
    """End the runs of processes that are gone as KILLED; return how many there were."""
    ended = 0
    for folder in sorted((project / FOLDER).glob("*")):
        with abandoned(folder) as dead:
            if dead is None:
                continue
            try:
                ended += _end(read_note(dead / _NOTE), project)
            except Exception as error:  # a server that does not answer now may do so at the next start
                logger.debug("MLflow could not be told that the run in %s was killed: %s", dead, error)
                continue
            shutil.rmtree(dead, ignore_errors=True)
    return ended


def runs_in_progress(project: Path) -> int:
    """Return the number of runs whose process lives."""
    found = 0
    for folder in (project / FOLDER).glob("run-*"):
        with abandoned(folder) as dead:
            found += dead is None and folder.exists()
    return found


def _end(note: Mapping[str, Any], project: Path) -> int:
    if not note:
        return 0  # killed before there was a run
    from mlflow import MlflowClient

    client = MlflowClient(note["tracking_uri"] or database_uri(project))
    where = f"tags.`{TAG}` = '{note['token']}' and attributes.status = 'RUNNING'"
    found = {run.info.run_id for run in client.search_runs([note["experiment"]], where)}
    if (known := note["run_id"]) and client.get_run(known).info.status == "RUNNING":
        found.add(known)
    for run_id in found:
        client.set_terminated(run_id, "KILLED")
    return len(found)


@contextmanager
def _place(project: Path) -> Iterator[Path | None]:
    """Yield a folder that marks this process as living; None if none can be made: then a kill -9 goes unnoticed."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(claimed(project / FOLDER / "run-"))
        except OSError as error:
            logger.debug("no folder for the run: %s", error)
            folder = None
        yield folder
