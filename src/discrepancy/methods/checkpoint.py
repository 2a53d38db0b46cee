"""The state of a training on disk: one file, replaced as a whole."""

from __future__ import annotations

import logging
import os
from io import BytesIO
from pathlib import Path

import torch

from discrepancy.errors import InputError

logger = logging.getLogger(__name__)


class Checkpoint:
    """The last good state of a training run, in one file that is replaced as a whole.

    Args:
        path: the file.
        fingerprint: names everything that determines the result (parameters, data, backbone); a file with another
            fingerprint belongs to another run and is not taken up.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        self.fingerprint = fingerprint

    def load(self) -> dict | None:
        """The stored state, None where there is none, it is another run's, or it cannot be read."""
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file of any kind means: start at the beginning
            logger.warning("training: checkpoint %s cannot be read (%s); starting at the beginning", self.path, error)
            return None
        if state.get("fingerprint") != self.fingerprint:
            logger.info("training: the checkpoint on disk belongs to other parameters or data; starting anew")
            return None
        os.utime(self.path)  # taken up: from now on it is this run's
        return state

    def save(self, state: dict) -> None:
        """Write beside the old file, then replace it: a kill leaves one or the other.

        Raises:
            InputError: the disk has no room, or refuses to be written.
        """
        content = BytesIO()  # PyTorch's own writer hides what the system says of a full disk
        torch.save({"fingerprint": self.fingerprint, **state}, content)
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}); expected more room") from error
        finally:
            temporary.unlink(missing_ok=True)
