"""`discrepancy ...` and `python -m discrepancy ...`: the project's commands without the `kedro` command.

A packed project has no other: `kedro package` makes a wheel and an archive of the configuration. Relative paths are
then those from the folder in which one stands.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

from discrepancy.console import quiet


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run a command; without its name, `run`, as Kedro's packed projects do."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["serve"]:  # where a bundle is served, neither Kedro nor PyTorch need be installed
        from discrepancy.serving.command import serve

        return serve(given[1:], prog_name="discrepancy serve")
    logging.disable(logging.INFO)  # Kedro says which logging it found; the command takes the project's
    from kedro.framework.project import configure_project

    logging.disable(logging.NOTSET)
    quiet()  # after Kedro, which has warnings logged
    from discrepancy.cli import cli

    configure_project("discrepancy")
    if not given or (given[0].startswith("-") and given[0] != "--help"):
        given = ["run", *given]
    return cli(given, prog_name="discrepancy")


if __name__ == "__main__":
    main()
