"""The section at the end of a test run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


def write_summary(reporter: pytest.TerminalReporter) -> None:
    """Say how many tests were traced, and what was found in each. Writes nothing where no test was traced."""
    reports = list(_traced(reporter))
    if not reports:
        return
    from gradtrace.rules.wording import counted  # numpy comes with it, which a run without a traced test does not need

    reporter.section("gradtrace")
    found = [report for report in reports if _values(report, "finding")]
    backwards = sum(int(value) for report in reports for value in _values(report, "backwards"))
    traced = f"{counted(len(reports), 'test')}, {counted(backwards, 'backward')}"
    reporter.write_line(f"traced {traced}; findings in {len(found)}")
    for report in found:
        reporter.write_line(report.nodeid, red=report.failed)
        for kind in ("finding", "picture", "trace"):
            for value in _values(report, kind):
                reporter.write_line(f"  {value}" if kind == "finding" else f"  {kind}: {value}")


def _traced(reporter: pytest.TerminalReporter) -> Iterator[pytest.TestReport]:
    for reports in reporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and report.when == "call" and _values(report, "backwards"):
                yield report


def _values(report: pytest.TestReport, name: str) -> list[str]:
    return [str(value) for key, value in report.user_properties if key == f"gradtrace_{name}"]
