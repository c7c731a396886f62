"""The example that looks for one run among many."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "thousand_runs.py"


def run(folder, *options):
    return subprocess.run(
        [sys.executable, str(EXAMPLE), *options], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.splitlines()


@pytest.mark.parametrize(
    ("runs", "sick"), [("40", "17"), pytest.param("1000", "617", marks=pytest.mark.slow)], ids=["few", "thousand"]
)
def test_the_sick_run_is_found(tmp_path, runs, sick):
    for library in ("duckdb", "pyarrow"):
        pytest.importorskip(library)
    first, second, _ = run(tmp_path, "--runs", runs, "--sick", sick)
    assert re.match(rf"seed{int(sick):04}: layers\.[01]\.weight is", first)
    away = [float(re.search(r"is ([\d.]+) deviations", line)[1]) for line in (first, second)]
    assert away[0] > 3 * away[1]


def test_polars_reads_the_same_dataset(tmp_path):
    polars = pytest.importorskip("polars")
    run(tmp_path, "--runs", "3", "--sick", "1")
    frame = polars.scan_parquet(tmp_path / "dataset" / "*" / "gradients" / "**" / "*.parquet", hive_partitioning=True)
    counts = frame.group_by("run").len().sort("run").collect()
    assert counts["run"].to_list() == ["seed0000", "seed0001", "seed0002"]
    assert set(counts["len"]) == {40 * 6}
