"""Options of the plugin: from the marker, the command line or the ini file, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

_TRACE_OPTIONS = ("every", "graph", "source", "replay", "select", "ignore", "thresholds")
"""What the marker hands on to `gradtrace.trace`."""


@dataclass(frozen=True)
class Settings:
    """What holds for a session or, with its marker, for one test."""

    everything: bool = False
    """Trace every test, not only those that ask for it."""
    fail_on: tuple[str, ...] = ()
    """Codes or their beginnings that fail a test."""
    folder: Path | None = None
    """Where traces and pictures of failing tests are kept."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """For `gradtrace.trace`."""

    @classmethod
    def of_config(cls, config: pytest.Config) -> Settings:
        """The command line's options, and the ini file's where the command line is silent."""
        folder = _option(config, "gradtrace_dir")
        return cls(
            everything=bool(_option(config, "gradtrace")),
            fail_on=_codes(_option(config, "gradtrace_fail_on")),
            folder=config.rootpath / folder if folder else None,
        )

    @classmethod
    def of_item(cls, item: pytest.Item) -> Settings:
        """The session's settings, over which the test's marker puts its own; options also from the pyproject.toml.

        A marker without `fail_on` leaves the session's; where there is none either, every error and warning fails.
        Raises pytest.UsageError for an unknown code or option, GradtraceError for settings of the project that are.
        """
        from gradtrace.rules import load_config

        settings = replace(cls.of_config(item.config), options=load_config(item.config.rootpath).options())
        marker = item.get_closest_marker("gradtrace")
        if marker is None:
            return settings
        options = dict(marker.kwargs)
        fail_on = _codes(options.pop("fail_on", settings.fail_on or "GT"))
        unknown = [name for name in options if name not in _TRACE_OPTIONS]
        if unknown or marker.args:
            raise pytest.UsageError(
                f"{item.nodeid}: the gradtrace marker takes fail_on and {', '.join(_TRACE_OPTIONS)} by name, "
                f"not {(unknown or marker.args)[0]!r}"
            )
        settings = replace(settings, fail_on=fail_on, options={**settings.options, **options})
        settings.check()
        return settings

    def check(self) -> None:
        """Raise pytest.UsageError where `fail_on` names an unknown code."""
        if not self.fail_on:
            return
        from gradtrace.errors import GradtraceError
        from gradtrace.rules import check_codes

        try:
            check_codes(self.fail_on)
        except GradtraceError as error:
            raise pytest.UsageError(f"gradtrace fail_on: {error}") from error


def add_options(parser: pytest.Parser) -> None:
    """Register the command line's options and the ini file's of the same names.

    Options default to None: any other default would pass for a wish and hide the ini file's value.
    """
    group = parser.getgroup("gradtrace", "gradient tracing")
    group.addoption("--gradtrace", action="store_const", const=True, default=None, help="Trace every test.")
    group.addoption(
        "--gradtrace-fail-on",
        metavar="CODES",
        default=None,
        help="Fail traced tests on these findings: codes or their beginnings, as GT1,GT301 (GT: any).",
    )
    group.addoption(
        "--gradtrace-dir", metavar="DIR", default=None, help="Keep the trace and a picture of each failing test in DIR."
    )
    group.addoption(
        "--gradtrace-update", action="store_true", help="Keep the gradients that gradtrace_snapshot compares with."
    )
    parser.addini("gradtrace", "Trace every test.", type="bool", default=False)
    parser.addini("gradtrace_fail_on", "Fail traced tests on these findings.", type="string", default="")
    parser.addini("gradtrace_dir", "Keep the trace and a picture of each failing test here.", type="string", default="")


def wanted(item: pytest.Item, *, everything: bool) -> bool:
    """Whether a test is traced without asking for the fixture itself."""
    return everything or item.get_closest_marker("gradtrace") is not None


def _option(config: pytest.Config, name: str) -> Any:
    value = config.getoption(name)
    return config.getini(name) if value is None else value


def _codes(given: Any) -> tuple[str, ...]:
    if not given:
        return ()
    from gradtrace.rules.selection import split_codes

    return tuple(split_codes(given))
