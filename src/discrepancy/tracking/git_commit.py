"""The state of the project's code that a run was made with."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit_tags(project: Path) -> dict[str, str]:
    """Return MLflow's tag for the project's git commit, if it has one, and `git_changed` if files differ from it."""
    commit = _git(project, "rev-parse", "HEAD")
    if not commit:
        return {}
    changed = _git(project, "status", "--porcelain", "--untracked-files=no")
    return {"mlflow.source.git.commit": commit, **({"git_changed": "true"} if changed else {})}


def _git(project: Path, *arguments: str) -> str:
    """Return what git says; nothing where there is no git, or no checkout."""
    command = ["git", "-C", str(project), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
