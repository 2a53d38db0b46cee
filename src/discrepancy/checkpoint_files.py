"""Names of the files in which trainings keep their states."""

from __future__ import annotations

from glob import escape
from pathlib import Path


def part_of(checkpoint: Path, name: str) -> Path:
    """Return the file for a part of a training, beside that of the whole: `checkpoint.<name>.pt`."""
    return checkpoint.with_name(f"{checkpoint.stem}.{name}{checkpoint.suffix}")


def with_parts(checkpoint: Path) -> list[Path]:
    """Return the file of a training and those of its parts, as far as they are there."""
    parts = checkpoint.parent.glob(f"{escape(checkpoint.stem)}.*{escape(checkpoint.suffix)}")
    return sorted({path for path in (checkpoint, *parts) if path.is_file()})
