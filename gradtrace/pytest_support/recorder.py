"""The tracer of one test."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import gradtrace
from gradtrace.errors import GradtraceError
from gradtrace.pytest_support.names import unique_file_name
from gradtrace.pytest_support.settings import Settings
from gradtrace.renderers.findings import stands
from gradtrace.renderers.findings.text import lines

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from gradtrace.capture.live import LiveTrace
    from gradtrace.model import Finding


class Recorder:
    """Starts with the test's fixtures, ends with its call, and then says what it found."""

    def __init__(self, item: pytest.Item, settings: Settings) -> None:
        self._item = item
        self._settings = settings
        self._stack = ExitStack()
        self._trace: LiveTrace | None = None
        self._file = settings.folder / f"{unique_file_name(item.nodeid)}.gradtrace" if settings.folder else None

    def start(self) -> LiveTrace:
        """Begin to trace. Raises GradtraceError where an option makes no sense or the folder cannot be made."""
        if self._file:
            _make(self._file.parent)
        tracer = gradtrace.trace(out=self._file, on_finding="ignore", **self._settings.options)
        self._trace = self._stack.enter_context(tracer)
        return self._trace

    def end(self, *, failed: bool) -> str | None:
        """Stop, note the findings in the test's report, and return why the test fails, if findings make it fail."""
        trace = self._trace
        if trace is None:
            return None
        self._stack.close()
        findings = trace.findings
        fatal = [finding for finding in findings if self._fails(finding)]
        kept = self._keep(trace) if failed or fatal else []
        self._note(trace, findings)
        text = [*(line for finding in fatal or findings for line in lines(finding)), *kept]
        if failed and (findings or self._file):
            self._item.add_report_section("call", "gradtrace", "\n".join(text))
        return "\n".join(text) if fatal and not failed else None

    def close(self) -> None:
        """Stop if the test never came to its end, and remove what is not to be kept."""
        self._stack.close()
        if self._file and not any(name == "gradtrace_trace" for name, _ in self._item.user_properties):
            self._file.unlink(missing_ok=True)

    def _fails(self, finding: Finding) -> bool:
        return stands(finding) and finding.code.startswith(self._settings.fail_on)

    def _keep(self, trace: LiveTrace) -> list[str]:
        if self._file is None:
            return ["  --gradtrace-dir=DIR keeps the trace and a picture of a failing test"]
        self._property("trace", str(self._file))
        kept = [f"  trace    {self._file} (gradtrace show)"]
        picture = self._file.with_suffix(".svg")
        try:
            trace.render(picture)
        except GradtraceError as error:
            return [*kept, f"  picture  none: {error}"]
        self._property("picture", str(picture))
        return [*kept, f"  picture  {picture}"]

    def _note(self, trace: LiveTrace, findings: list[Finding]) -> None:
        self._property("backwards", str(trace.backwards))
        for finding in findings:
            self._property("finding", f"{finding.code} {finding.name} ({finding.severity}): {finding.message}")

    def _property(self, name: str, value: str) -> None:
        # pytest writes these to JUnit files, and xdist carries them to the process that writes the summary.
        self._item.user_properties.append((f"gradtrace_{name}", value))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GradtraceError(f"--gradtrace-dir={folder}: no folder can be made there ({error.strerror})") from error
