"""A trace as text for a terminal: verdict, findings with source, layers with sparklines."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradtrace.renderers.compiler import compiler_lines
from gradtrace.renderers.drawing import numbers
from gradtrace.renderers.drawing.escape import plain
from gradtrace.renderers.findings import stands
from gradtrace.renderers.findings.text import headline, lines
from gradtrace.renderers.layers import Layer, fitting, layer_table, ordered
from gradtrace.renderers.places import relative_file
from gradtrace.renderers.sparkline import sparkline
from gradtrace.renderers.wording import short
from gradtrace.rules.wording import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from gradtrace.model import Finding
    from gradtrace.store.recording import Recording

_WIDE = 100
"""Columns from which on there is room for the type and a long sparkline."""
_FIRST_TO_GO = ("type", "update/weight", "gain", "values", "dead", "over time")
"""Columns of the table that a terminal may be too narrow for."""
_NAME, _BETWEEN = 24, 2
"""Room that the name of a layer has at least, longer ones being folded; and room between two columns."""
_WIDE_SPARKLINE, _NARROW_SPARKLINE = 20, 10

ROWS = 40
"""Layers shown where nobody says how many fit."""

_COLORS = {"error": "bold red", "warning": "yellow", "note": "blue"}
_STATES = {"not finite": "bold red", "zero": "dim", "no gradient": "dim", "not measured": "dim", "frozen": "dim"}


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
        console.print(_table(shown, width))
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

    console = Console(file=io.StringIO(), record=True, force_jupyter=False)
    console.print(Text.from_ansi(text), soft_wrap=True)
    body = console.export_html(inline_styles=True, code_format="{code}")
    return f'<pre style="line-height: 1.2">{body}</pre>'


def finding_bundle(finding: Finding) -> dict[str, str]:
    """A finding as a notebook shows it, by MIME type."""
    texts = []
    for color in (False, True):
        console = _console(100, color=color)
        _print_finding(console, finding)
        assert isinstance(console.file, io.StringIO)  # noqa: S101  made in _console
        texts.append(console.file.getvalue())
    return {"text/plain": texts[0].rstrip(), "text/html": to_html(texts[1])}


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
        force_jupyter=False,  # in a notebook rich would show each line by itself, and nothing would reach the file
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
    odd = [leaf for leaf in first.parameters if leaf.requires_grad and not leaf.is_measured]
    if odd:
        kinds = " and ".join(sorted({leaf.dtype for leaf in odd}))
        yield f"gradients of {counted(len(odd), 'parameter')} in {kinds} are not measured: torch has no norm for it"
    yield from compiler_lines(first)
    for recording in recordings:
        if not recording.closed:
            yield f"{recording.path.name} is still being written, or its program was killed; shown is what it holds"
        for event in recording.events("internal_error"):
            message = event.payload.get("message")
            yield f"tracing stopped at backward {event.backward} by a fault of gradtrace: {message}"


def _print_finding(console: Console, finding: Finding) -> None:
    first, *rest = lines(finding)
    console.print(plain(first), style=_COLORS[finding.severity], soft_wrap=True)
    for line in rest:
        console.print(plain(line), soft_wrap=True)


def _table(layers: Sequence[Layer], width: int) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = [_cells(layer, sparkline_width=_WIDE_SPARKLINE if width >= _WIDE else _NARROW_SPARKLINE) for layer in layers]
    titles = _titles(rows, width)
    for title in titles:
        if title == "layer":
            table.add_column(title, overflow="fold", min_width=12)
        else:
            table.add_column(title, justify="left" if title in ("type", "over time") else "right", no_wrap=True)
    for layer, cells in zip(layers, rows, strict=True):
        table.add_row(*(cells[title] for title in titles), style=_STATES.get(layer.state))
    return table


def _titles(rows: Sequence[Mapping[str, str]], width: int) -> list[str]:
    """The columns that there is room for, the layer and its gradient always among them."""
    wide = {title: max(map(len, (title, *(cells[title] for cells in rows)))) for title in rows[0]}
    wide["layer"] = min(wide["layer"], _NAME)
    if width < _WIDE:
        del wide["type"]
    if all(cells["dead"] == "-" for cells in rows):
        del wide["dead"]
    for title in _FIRST_TO_GO:
        if sum(wide.values()) + _BETWEEN * (len(wide) - 1) > width:
            wide.pop(title, None)
    return list(wide)


def _cells(layer: Layer, *, sparkline_width: int) -> dict[str, str]:
    """The row by column."""
    return {
        "layer": plain(layer.name) or "(root)",
        "type": plain(layer.type or ""),
        "values": numbers.count(layer.elements),
        "gradient": short(layer.norm) if layer.state in ("ok", "zero") else layer.state,
        "over time": sparkline(layer.history, sparkline_width),
        "update/weight": short(layer.update),
        "gain": short(layer.gain),
        "dead": f"{layer.dead}/{layer.units}" if layer.units else "-",
    }
