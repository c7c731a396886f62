"""Find the sick run among a thousand, in DuckDB.

    python thousand_runs.py            # 1,000 made-up runs; --runs 50 for fewer
    python thousand_runs.py --traces DIR   # your own: every *.gradtrace in a folder

Each trace is exported to Parquet below `dataset/run=NAME`, as `gradtrace export --to parquet` does it. DuckDB then
reads all of them as one table, in which `run` and `rank` are columns.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import duckdb
import numpy as np

import gradtrace
from gradtrace.exporters import export
from gradtrace.model import BACKWARD, LOOP, STATISTICS, Parameter
from gradtrace.store.writer import Writer

BACKWARDS, LAYERS = 40, 6

QUERY = """
    WITH late AS (
        SELECT run, parameter, median(norm) AS norm
        FROM read_parquet('{dataset}/*/gradients/*.parquet', hive_partitioning = true)
        WHERE backward > {half}
        GROUP BY run, parameter
    ), usual AS (
        SELECT parameter, median(ln(norm)) AS center, mad(ln(norm)) AS spread
        FROM late WHERE norm > 0 GROUP BY parameter
    )
    SELECT run, arg_max(parameter, away) AS parameter, max(away) AS away
    FROM (SELECT *, abs(ln(norm) - center) / spread AS away FROM late JOIN usual USING (parameter) WHERE norm > 0)
    GROUP BY run ORDER BY away DESC LIMIT 3
"""
"""How far the late gradients of a run lie from those of all runs, in median absolute deviations of their logarithm."""


def main() -> None:
    """Write or take the traces, export them, and ask."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--runs", type=int, default=1000)
    options.add_argument("--sick", type=int, default=617, help="number of the run whose gradients vanish")
    options.add_argument("--traces", type=Path)
    options.add_argument("--dataset", type=Path, default=Path("dataset"))
    chosen = options.parse_args()
    traces = chosen.traces or make_traces(Path("runs"), chosen.runs, chosen.sick % chosen.runs)
    build_dataset(traces, chosen.dataset)
    for run, parameter, away in duckdb.sql(QUERY.format(dataset=chosen.dataset, half=BACKWARDS // 2)).fetchall():
        print(f"{run}: {parameter} is {away:.1f} deviations away from the other runs")


def build_dataset(traces: Path, dataset: Path) -> None:
    """Export every trace of a folder to `dataset/run=NAME`."""
    for path in sorted(traces.glob("*.gradtrace")):
        with gradtrace.load(path) as trace:
            export(trace.recordings, trace.recording().findings(), "parquet", dataset / f"run={path.stem}")


def make_traces(folder: Path, runs: int, sick: int) -> Path:
    """Runs that differ by chance, and one whose first layers get a thousandth of the gradient from the middle on."""
    for number in range(runs):
        chance = np.random.default_rng(number)
        norms = chance.lognormal(0.0, 0.3, (BACKWARDS, LAYERS)) * chance.lognormal(0.0, 0.2)
        if number == sick:
            norms[BACKWARDS // 2 :, :2] /= 1000
        write(folder / f"seed{number:04}.gradtrace", norms.astype(np.float32))
    return folder


def write(path: Path, norms: np.ndarray) -> None:
    """A trace with these gradient norms (backwards, parameters), through the writer that the tracer uses."""
    writer = Writer(path, {"argv": ["train.py", f"--seed={path.stem}"]})
    writer.put_parameters([Parameter(at, f"layers.{at}.weight", f"layers.{at}", "Linear") for at in range(LAYERS)])
    records = np.zeros(len(norms), BACKWARD)
    records["number"] = np.arange(1, len(norms) + 1)
    records["step"] = np.arange(len(norms))
    values = np.zeros((len(norms), len(STATISTICS), LAYERS), np.float32)
    values[:, 0], values[:, 1] = norms, norms / 3
    writer.put_block(records, np.zeros(0, LOOP), values)
    writer.close()


if __name__ == "__main__":
    main()
