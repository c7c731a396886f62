"""A trace as text for a terminal: verdict, findings with source, layers with sparklines."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradtrace.renderers.findings import stands
from gradtrace.renderers.findings.text import headline, lines
from gradtrace.renderers.layers import Layer, fitting, layer_table, ordered
from gradtrace.renderers.places import relative_file
from gradtrace.renderers.sparkline import sparkline
from gradtrace.renderers.wording import abbreviated, short
from gradtrace.rules.wording import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from gradtrace.model import Finding
    from gradtrace.store.recording import Recording

ROWS = 40
"""Layers shown where nobody says how many fit."""

_COLORS = {"error": "bold red", "warning": "yellow", "note": "blue"}
_STATES = {"not finite": "bold red", "zero": "dim", "no gradient": "dim", "frozen": "dim"}


@dataclass(frozen=True, slots=True)
class LayerChoice:
    """Which layers to show, of which backward, in which order."""

    backward: int | None = None
    sort: str = "model"
    groups: Mapping[str, Sequence[int]] | None = None
    """Names and parameter ids; by default modules, folded to `rows` lines."""
    rows: int = ROWS


def render_text(
    recordings: Sequence[Recording],
    findings: Sequence[Finding],
    *,
    path: Path,
    width: int = 100,
    color: bool = False,
    layers: LayerChoice = LayerChoice(),
) -> str:
    """The whole view of a trace; of several ranks, the layers of the first. With `color`, ANSI escapes are in it.

    Raises GradtraceError for an unknown backward or order.
    """
    console = _console(width, color=color)
    shown = chosen_layers(recordings[0], layers)
    _print_head(console, recordings, findings, path)
    for finding in findings:
        console.print()
        _print_finding(console, finding)
    if shown:
        console.print()
        console.print(_table(shown))
    output = console.file
    assert isinstance(output, io.StringIO)  # noqa: S101  made in _console
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines()) + "\n"


def chosen_layers(recording: Recording, choice: LayerChoice) -> list[Layer]:
    """The rows that `choice` asks for."""
    groups = choice.groups if choice.groups is not None else fitting(recording.parameters, choice.rows)
    return ordered(layer_table(recording, groups, backward=choice.backward), choice.sort)


def to_html(text: str) -> str:
    """Text with ANSI escapes as an HTML fragment."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=io.StringIO(), record=True)
    console.print(Text.from_ansi(text), soft_wrap=True)
    body = console.export_html(inline_styles=True, code_format="{code}")
    return f'<pre style="line-height: 1.2">{body}</pre>'


def _console(width: int, *, color: bool) -> Console:
    from rich.console import Console

    return Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )


def _print_head(console: Console, recordings: Sequence[Recording], findings: Sequence[Finding], path: Path) -> None:
    backwards = max(map(len, recordings))
    grave = [finding for finding in findings if stands(finding)]
    style = _COLORS[grave[0].severity] if grave else "bold green"
    console.print(headline(findings, backwards), style=style if backwards else "yellow")
    for line in _facts(recordings, path):
        console.print(line, style="dim")


def _facts(recordings: Sequence[Recording], path: Path) -> Iterator[str]:
    first = recordings[0]
    steps = int(first.backwards()["step"].max(initial=0)) if not len(first.loop()) else int(first.loop()["step"].max())
    parts = [
        relative_file(str(path)),
        *([counted(len(recordings), "rank")] if len(recordings) > 1 else []),
        counted(steps, "step"),
        counted(len(first.parameters), "parameter"),
        f"torch {first.meta.get('torch', 'unknown')}",
    ]
    yield ", ".join(parts)
    for recording in recordings:
        if not recording.closed:
            yield f"{recording.path.name} is still being written, or its program was killed; shown is what it holds"
        for event in recording.events("internal_error"):
            message = event.payload.get("message")
            yield f"tracing stopped at backward {event.backward} by a fault of gradtrace: {message}"


def _print_finding(console: Console, finding: Finding) -> None:
    first, *rest = lines(finding)
    console.print(first, style=_COLORS[finding.severity], soft_wrap=True)
    for line in rest:
        console.print(line, soft_wrap=True)


def _table(layers: Sequence[Layer]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    dead = any(layer.units for layer in layers)
    table.add_column("layer", overflow="fold", min_width=12)
    table.add_column("type", overflow="ellipsis", no_wrap=True)
    for title in ("values", "gradient"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("over time", no_wrap=True)
    for title in ("update/weight", "gain", *(["dead"] if dead else [])):
        table.add_column(title, justify="right", no_wrap=True)
    for layer in layers:
        table.add_row(*_cells(layer, dead=dead), style=_STATES.get(layer.state))
    return table


def _cells(layer: Layer, *, dead: bool) -> list[str | Text]:
    cells = [
        layer.name or "(root)",
        layer.type or "",
        abbreviated(layer.elements),
        short(layer.norm) if layer.state in ("ok", "zero") else layer.state,
        sparkline(layer.history),
        short(layer.update),
        short(layer.gain),
    ]
    if dead:
        cells.append(f"{layer.dead}/{layer.units}" if layer.units else "-")
    return list(cells)
