"""Options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

trace_argument: Decorator = click.argument("trace", type=click.Path(path_type=Path))
"""A file, or a folder of ranks; whether it is one is found out on opening it, with a better message than click's."""


class Extensible(click.Choice[str]):
    """Choices of our own, and those that plugins add: these are loaded only for a word that is none of ours."""

    def __init__(self, choices: Sequence[str], added: Callable[[], Iterable[str]]) -> None:
        super().__init__(choices)
        self._added = added

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in self.choices:
            return super().convert(value, param, ctx)
        return click.Choice([*self.choices, *self._added()]).convert(value, param, ctx)


def added_formats(kind: str) -> Callable[[], Iterable[str]]:
    """The names that plugins add: `kind` is a function of `gradtrace.plugins`, which is imported when it is called."""

    def names() -> Iterable[str]:
        from gradtrace import plugins

        added: Iterable[str] = getattr(plugins, kind)()
        return added

    return names


def codes(value: str) -> tuple[str, ...]:
    """Finding codes or their beginnings, separated by commas: `GT1,GT301`."""
    from gradtrace.rules.selection import split_codes

    return tuple(split_codes(value))


def threshold(value: str) -> tuple[str, str, float]:
    """`GROUP.NAME=NUMBER`."""
    path, _, number = value.partition("=")
    group, _, name = path.partition(".")
    try:
        amount = float(number)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not GROUP.NAME=NUMBER, as in flow.decades=4") from None
    return group, name, int(amount) if amount.is_integer() else amount


def rule_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--select`, `--ignore` and `--threshold`: which rules speak, and when."""
    for option in (
        click.option(
            "--threshold",
            "thresholds",
            type=threshold,
            multiple=True,
            metavar="GROUP.NAME=NUMBER",
            help="Change a number that a rule compares with, as flow.decades=4.",
        ),
        click.option("--ignore", type=codes, metavar="CODES", help="Leave these codes out."),
        click.option(
            "--select",
            type=codes,
            metavar="CODES",
            help="Only these codes or their beginnings: GT1,GT301.",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class RuleOptions:
    """The values of `rule_options`."""

    select: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None
    thresholds: tuple[tuple[str, str, float], ...] = ()

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> RuleOptions:
        """From the fields as JSON gives them back."""
        return cls(
            data["select"], data["ignore"], tuple((group, name, amount) for group, name, amount in data["thresholds"])
        )

    def settings(self) -> dict[str, Any]:
        """What is given, as `Trace.diagnose` and `gradtrace.trace` take it, over the project's pyproject.toml.

        What is missing is as it was recorded; `--ignore ''` is not missing, and leaves nothing out.
        Raises GradtraceError for a code or threshold that does not exist.
        """
        from gradtrace.rules import Thresholds, check_codes, load_config

        config = load_config()
        given = config.options()
        given |= {name: value for name in ("select", "ignore") if (value := getattr(self, name)) is not None}
        if self.thresholds:
            given["thresholds"] = _merged(asdict(config.thresholds), self.thresholds)
            Thresholds.of(given["thresholds"])
        check_codes([*given.get("select", ()), *given.get("ignore", ())])
        return given

    def check(self) -> None:
        """Raise GradtraceError for a code or threshold that does not exist; where none is given, import nothing."""
        if self.select or self.ignore or self.thresholds:
            self.settings()


def _merged(
    base: dict[str, dict[str, float]], changes: Iterable[tuple[str, str, float]]
) -> dict[str, dict[str, float]]:
    for group, name, amount in changes:
        base.setdefault(group, {})[name] = amount
    return base
