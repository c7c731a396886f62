"""Options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

trace_argument: Decorator = click.argument("trace", type=click.Path(path_type=Path))


class Codes(click.ParamType):
    """Finding codes or prefixes of codes, separated by commas: `GT1,GT301`."""

    name = "codes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        from gradtrace.rules import expand_codes

        if isinstance(value, tuple):
            return value
        wanted = tuple(part.strip() for part in value.split(",") if part.strip())
        expand_codes(wanted)
        return wanted


def select_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--select` and `--ignore`, as a linter has them."""
    ignore = click.option("--ignore", type=Codes(), metavar="CODES", help="Leave these codes or prefixes out.")
    select = click.option("--select", type=Codes(), metavar="CODES", help="Only these codes or prefixes, as GT1,GT301.")
    return select(ignore(command))


class Thresholds(click.ParamType):
    """`NAME=NUMBER`."""

    name = "threshold"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        name, _, number = value.partition("=")
        try:
            return name, float(number)
        except ValueError:
            self.fail(f"{value!r} is not NAME=NUMBER", param, ctx)
