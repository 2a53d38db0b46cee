"""`kedro features`: list the entries of the feature cache, or delete some."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from kedro.framework.startup import bootstrap_project
from kedro.utils import find_kedro_project

from discrepancy.benchmark.configuration import catalog_of
from discrepancy.command import Command
from discrepancy.errors import InputError
from discrepancy.methods.registry import DEFAULT
from discrepancy.places import free_bytes, readable_size
from discrepancy.tracking.live import runs_in_progress

if TYPE_CHECKING:
    from discrepancy.features.inventory import StoredEntry

_ENV = click.option("--env", "-e", envvar="KEDRO_ENV", help="Kedro environment, whose catalog says where the cache is.")


@click.group(short_help="List cached features, or delete some.")
def features() -> None:
    """List the entries of the feature cache, or delete some.

    All runs share the cache, of every data set, method and seed.
    What is deleted is extracted again when a run needs it.
    """


@features.command("list", cls=Command)
@_ENV
def list_entries(env: str | None) -> None:
    """List the entries of the cache, most recently used first, and their total size."""
    from discrepancy.features.inventory import stored_entries  # with PyTorch, which takes seconds

    cache = _cache(_project(), env)
    entries = stored_entries(cache)
    for line in _table(entries):
        click.echo(line)
    click.echo(_sum(entries, cache))


@features.command(cls=Command)
@click.argument("entries", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Delete every entry.")
@click.option(
    "--unused-for", type=click.FloatRange(0), metavar="DAYS", help="Delete entries not used for this many days."
)
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and stop.")
@_ENV
def drop(
    entries: tuple[str, ...], *, everything: bool, unused_for: float | None, dry_run: bool, env: str | None
) -> None:
    """Delete ENTRIES of the cache, by the names that `kedro features list` shows, or their beginnings.

    \b
    kedro features drop 56aea7a2 60d5a99a
    kedro features drop --unused-for=30
    kedro features drop --all
    """
    from discrepancy.features.inventory import chosen_entries, drop_entries, stored_entries

    if sum((bool(entries), everything, unused_for is not None)) != 1:
        raise InputError("features drop: expected names of entries, or --unused-for=DAYS, or --all")
    project = _project()
    cache = _cache(project, env)
    stored = stored_entries(cache)
    if entries:
        chosen = chosen_entries(stored, entries)
    else:
        chosen = [entry for entry in stored if everything or entry.days >= (unused_for or 0)]
    if dry_run:
        for line in _table(chosen):
            click.echo(line)
        click.echo(f"would delete {_counted(chosen)}")
        return
    if chosen and (running := runs_in_progress(project)):
        raise InputError(f"{running} run(s) of this project are in progress and may read features; expected none: wait")
    drop_entries(chosen)
    click.echo(f"deleted {_counted(chosen)}")


def _project() -> Path:
    return find_kedro_project(Path.cwd()) or Path.cwd()


def _cache(project: Path, env: str | None) -> Path:
    from discrepancy.datasets.features import FeaturesDataset

    bootstrap_project(project)
    dataset = catalog_of(project, env, {"category": ""}).get(f"{DEFAULT}.features")
    assert isinstance(dataset, FeaturesDataset)
    return project / dataset.cache


def _table(entries: Sequence[StoredEntry]) -> list[str]:
    if not entries:
        return []
    rows = [("entry", "size", "images", "last used", "features")]
    rows += [
        (entry.name, readable_size(entry.nbytes), str(entry.images), _ago(entry.days), entry.description)
        for entry in entries
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"{name:<{widths[0]}}  {size:>{widths[1]}}  {images:>{widths[2]}}  {used:<{widths[3]}}  {what}"
        for name, size, images, used, what in rows
    ]


def _sum(entries: Sequence[StoredEntry], cache: Path) -> str:
    return f"{_counted(entries)} in {cache}; {readable_size(free_bytes(cache))} free"


def _counted(entries: Sequence[StoredEntry]) -> str:
    what = "entry" if len(entries) == 1 else "entries"
    return f"{len(entries)} {what}, {readable_size(sum(entry.nbytes for entry in entries))}"


def _ago(days: float) -> str:
    return "today" if days < 1 else f"{days:.0f} days ago"
