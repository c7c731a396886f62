"""`gradtrace export`: a trace in the formats of other tools."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gradtrace.cli.options import Extensible, RuleOptions, added_formats, rule_options, trace_argument
from gradtrace.cli.output import write

if TYPE_CHECKING:
    from gradtrace.exporters import Advance

_NEXT = {
    "parquet": "duckdb -c \"SELECT parameter, avg(norm) FROM '{out}/gradients/*.parquet' GROUP BY ALL\"",
    "tensorboard": "tensorboard --logdir {out}",
    "wandb": "wandb sync {out}/wandb/offline-run-*",
    "mlflow": "mlflow ui --backend-store-uri sqlite:///{out}/mlflow.db",
}
"""What one would do with the result."""


@click.command(
    short_help="Write a trace as CSV, Parquet, TensorBoard, W&B or MLflow.",
    epilog="Example: gradtrace export train.gradtrace --to parquet -o train-parquet",
)
@click.option(
    "--to",
    "format",
    type=Extensible(["csv", "parquet", "tensorboard", "wandb", "mlflow"], added_formats("exporters")),
    required=True,
    help="csv and parquet: tables of backwards, gradients, updates, parameters and findings. The others: scalars.",
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="FOLDER", help="By default named after trace and format."
)
@rule_options
@trace_argument
def command(trace: Path, format: str, out: Path | None, **rules: Any) -> None:
    """Write all numbers and findings of TRACE into a folder for another tool. Nothing is sent anywhere.

    The folder is printed.
    """
    from gradtrace.exporters import export
    from gradtrace.recorded import load

    with load(trace) as recorded:
        findings = recorded.diagnose(**RuleOptions(**rules).settings())
        target = out or Path(f"{trace.stem}-{format}")
        total = sum(map(len, recorded.recordings))
        with _progress(total) as advance:
            folder = export(recorded.recordings, findings, format, target, advance=advance)
    write(f"{folder}\n", None)
    if format in _NEXT:
        click.echo(f"next: {_NEXT[format].format(out=shlex.quote(str(folder)))}", err=True)


@contextmanager
def _progress(total: int) -> Iterator[Advance]:
    """A bar on a terminal; nothing anywhere else."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda backwards: None
        return
    with click.progressbar(length=total, label="backwards", file=sys.stderr) as bar:
        yield bar.update
