"""Tables, tests of difference and page of a benchmark."""

from __future__ import annotations

import re

import pandas as pd

from discrepancy.benchmark.comparison import compare, rank_methods
from discrepancy.benchmark.published import published_numbers
from discrepancy.benchmark.results import BenchmarkResults, PageFiles
from discrepancy.benchmark.tables import compact, summarise
from discrepancy.figures.benchmark_page import NOT_COMPARABLE, benchmark_page
from discrepancy.figures.comparison import probability
from discrepancy.figures.tables import markdown_table, text_table
from discrepancy.methods.registry import METHODS


def tabulate_results(
    benchmark: BenchmarkResults,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return tables: one row per trial; per category and method, and means; per pair of methods; ranks of methods."""
    results = benchmark.results
    return results, summarise(results, published_numbers()), compare(results), rank_methods(results)


def write_markdown(benchmark: BenchmarkResults, summary: pd.DataFrame, comparison: pd.DataFrame) -> str:
    """Write the tables for a document, in Markdown."""
    table = compact(_titled(summary))
    parts = [f"# Benchmark {benchmark.name}", markdown_table(table)]
    if any(name.endswith("published") for name in table):
        parts.append(NOT_COMPARABLE)
    if len(comparison):
        words = {name: comparison[name].map(probability) for name in ("p", "p_holm")}
        parts += ["## Is the difference real?", markdown_table(_titled(comparison).assign(**words))]
    failed = benchmark.results[benchmark.results["state"] != "done"]
    if len(failed):
        columns = ["dataset", "category", "method", "seed", "state", "reason"]
        parts += ["## Runs without a result", markdown_table(_titled(failed[columns]))]
    return "\n\n".join(parts) + "\n"


def write_page(
    benchmark: BenchmarkResults, summary: pd.DataFrame, comparison: pd.DataFrame, ranks: pd.DataFrame
) -> PageFiles:
    """Write the page, and list the galleries that it shows."""
    pictures = {
        f"galleries/{number:03d}_{key[0]}.png": (key, path)
        for number, (key, path) in enumerate(sorted(benchmark.galleries.items()))
    }
    html = benchmark_page(
        _titled(benchmark.results),
        _titled(summary),
        _titled(comparison),
        {(_title(key[0]), key[1], key[2]): name for name, (key, _) in pictures.items()},
        ranks=_titled(ranks),
        published=_titled(published_numbers()),
        title=f"Benchmark {benchmark.name}",
    )
    return PageFiles(html, {name: path for name, (_, path) in pictures.items()})


def print_summary(benchmark: BenchmarkResults, summary: pd.DataFrame) -> str:
    """Write the table that a run ends with."""
    counts = benchmark.results["state"].value_counts()
    states = ", ".join(f"{counts[state]} {state}" for state in ("done", "failed", "missing") if state in counts)
    shown = ("image_auroc", "pixel_auroc", "aupro_0.30", "aupro_as_published")
    table = text_table(compact(_titled(summary), metrics=shown), width=120)
    return f"benchmark {benchmark.name}: {states}\n\n{table}\n"


def _titled(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with methods called as their papers write them; names that are no method's stay."""
    changed = {name: table[name].map(_title) for name in ("method", "other") if name in table}
    if "note" in table:
        words = re.compile(rf"\b({'|'.join(map(re.escape, METHODS))})\b")
        changed["note"] = table["note"].map(lambda note: words.sub(lambda found: _title(found[0]), str(note)))
    return table.assign(**changed)


def _title(name: str) -> str:
    return METHODS[name].title if name in METHODS else name
