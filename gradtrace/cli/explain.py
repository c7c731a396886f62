"""`gradtrace explain`: the chain rule of a backward in words and numbers."""

from __future__ import annotations

from pathlib import Path

import click

from gradtrace.cli.options import trace_argument
from gradtrace.cli.output import to_stdout, working, write


@click.command(
    short_help="The chain rule of a small graph, step by step.",
    epilog="Example: gradtrace explain linear_regression.gradtrace --backward 1",
)
@click.option("--backward", type=int, default=-1, metavar="N", help="Of backward N; negative counts from the end.")
@click.option("--path", metavar="FROM:TO", help="Only the ways between two nodes or modules; loss is the loss.")
@click.option("--rank", type=click.IntRange(min=0), default=0, help="Of a folder of ranks.")
@click.option(
    "--format", type=click.Choice(["text", "markdown", "html"]), help="By default the ending of FILE, or text."
)
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="A .txt, .md or .html file.")
@trace_argument
def command(trace: Path, backward: int, path: str | None, rank: int, format: str | None, out: Path | None) -> None:
    """Walk a backward of TRACE from the loss to the leaves: each op, its formula, the gradient that came in, the local
    derivative, the gradient that went out, and finite differences beside the result.

    Of a large graph, one path is explained.
    """
    from gradtrace.explanation import document, kind_of
    from gradtrace.recorded import load

    kind = format or ("text" if out is None or to_stdout(out) else kind_of(out))
    with working(f"explaining {trace}"), load(trace) as recorded:
        from gradtrace.capture.explain_trace import explain_trace

        explanation = explain_trace(recorded, backward, path=path, rank=rank)
    write(document(explanation, kind), out)
