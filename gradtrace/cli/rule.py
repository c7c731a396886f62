"""`gradtrace rule`: what a code means, why it matters, how to fix it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from gradtrace.cli.output import in_color, terminal_size, write

if TYPE_CHECKING:
    from gradtrace.rules.base import Rule


@click.command(short_help="Explain a finding's code.", epilog="Example: gradtrace rule GT101")
@click.argument("code", required=False)
def command(code: str | None) -> None:
    """Explain a finding's CODE (or name); without one, list them all."""
    from gradtrace.rules import all_rules, rule

    text = _page(rule(code)) if code else "\n".join(map(_line, all_rules()))
    write(f"{text if in_color() else click.unstyle(text)}\n", None)


def _line(rule: Rule) -> str:
    meaning = textwrap.shorten(rule.page.meaning, max(40, terminal_size()[0] - 34), placeholder=" …")
    return f"{click.style(rule.code, bold=True)}  {rule.name:<26} {meaning}"


def _page(rule: Rule) -> str:
    width = min(100, terminal_size()[0])
    parts = [click.style(f"{rule.code} {rule.name}", bold=True)]
    for heading, text in rule.page.sections():
        parts.append(f"{click.style(heading, bold=True)}\n{_body(text, width)}")
    return "\n\n".join(parts)


def _body(text: str, width: int) -> str:
    """Prose is filled; what has line breaks of its own is code and stays as it is."""
    text = textwrap.dedent(text).strip("\n")
    return textwrap.indent(text, "  ") if "\n" in text else textwrap.fill(text, width)
