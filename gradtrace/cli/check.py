"""`gradtrace check`: findings, and an exit code to gate on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gradtrace.cli.options import Extensible, RuleOptions, added_formats, rule_options
from gradtrace.cli.output import format_of, working, write

_ENDINGS = {".txt": "text", ".json": "json", ".sarif": "sarif", ".xml": "junit"}


@click.command(
    short_help="Findings as an exit code, for people and for CI.",
    epilog="Example: gradtrace check runs/*.gradtrace --select GT1,GT2 --format github",
)
@click.option(
    "--format",
    type=Extensible(["text", "json", "github", "sarif", "junit"], added_formats("finding_formats")),
    help="For people, programs, GitHub annotations, code scanning, CI servers. By default the ending of FILE, or text.",
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="A .txt, .json, .sarif or .xml (JUnit) file."
)
@rule_options
@click.argument("traces", metavar="TRACE...", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(traces: tuple[Path, ...], format: str | None, out: Path | None, **rules: Any) -> int:
    """Say what is wrong with each TRACE; exit 1 where an error or a warning stands, else 0."""
    from gradtrace.recorded import load
    from gradtrace.renderers.findings import Verdict, render_findings, stands

    format = format or format_of(out, _ENDINGS)
    settings = RuleOptions(**rules).settings()
    verdicts = []
    for path in traces:
        with working(f"reading {path}"), load(path) as trace:
            verdicts.append(Verdict(str(path), trace.backwards, tuple(trace.diagnose(**settings))))
    write(render_findings(verdicts, format), out)
    return int(any(stands(finding) for verdict in verdicts for finding in verdict.findings))
