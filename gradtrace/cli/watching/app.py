"""The screens of `gradtrace watch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Static

from gradtrace.cli.watching.growing import Diagnosis, GrowingTrace, describe
from gradtrace.errors import GradtraceError
from gradtrace.renderers.drawing import numbers
from gradtrace.renderers.findings.text import headline, lines
from gradtrace.renderers.layers import SORTS, Layer
from gradtrace.renderers.sparkline import sparkline
from gradtrace.renderers.wording import short

if TYPE_CHECKING:
    from gradtrace.model import Finding

_COLORS = {"error": "bold red", "warning": "yellow", "note": "blue"}
_STATES = {"not finite": "bold red", "zero": "dim", "no gradient": "dim", "frozen": "dim"}
_COLUMNS = ("layer", "type", "values", "gradient", "over time", "update/weight", "gain", "dead")
_SPARK = 32
"""Characters of a sparkline."""


class LayerTable(DataTable[Text]):
    """Layers as rows; the cursor stays on its layer when numbers and order change."""

    def show(self, layers: list[Layer]) -> None:
        """Replace what is shown; cells are updated in place as long as the same layers stand in the same order."""
        if not self.columns:
            self.cursor_type = "row"
            for title in _COLUMNS:
                self.add_column(title, key=title)
        names = [layer.name for layer in layers]
        if [row.value for row in self.rows] != names:
            self._rebuild(layers)
            return
        for layer in layers:
            for title, cell in zip(_COLUMNS, _cells(layer), strict=True):
                self.update_cell(layer.name, title, cell, update_width=True)

    def _rebuild(self, layers: list[Layer]) -> None:
        chosen = self.chosen
        self.clear()
        for layer in layers:
            self.add_row(*_cells(layer), key=layer.name)
        names = [layer.name for layer in layers]
        if chosen in names:
            self.move_cursor(row=names.index(chosen))

    @property
    def chosen(self) -> str | None:
        """The layer under the cursor."""
        keys = list(self.rows)
        return keys[self.cursor_row].value if 0 <= self.cursor_row < len(keys) else None


def _cells(layer: Layer) -> list[Text]:
    cells = (
        layer.name or "(root)",
        layer.type or "",
        numbers.count(layer.elements),
        layer.state if layer.state in ("frozen", "no gradient") else short(layer.norm),
        sparkline(layer.history, _SPARK),
        short(layer.update),
        short(layer.gain),
        f"{layer.dead}/{layer.units}" if layer.units else "-",
    )
    style = _STATES.get(layer.state, "")
    return [Text(cell, style=style, no_wrap=True) for cell in cells]


class LayerScreen(ModalScreen[None]):
    """The parameters of one layer."""

    BINDINGS: ClassVar = [Binding("escape,q,enter", "dismiss", "Close")]
    CSS = """
    LayerScreen { align: center middle; }
    LayerScreen Vertical { width: 92%; height: 80%; border: round $accent; padding: 0 1; background: $surface; }
    LayerScreen .title { text-style: bold; }
    """

    def __init__(self, trace: GrowingTrace, layer: str) -> None:
        super().__init__()
        self._trace = trace
        self._layer = layer

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Text(self._layer or "(root)"), classes="title")
            yield LayerTable()
        yield Footer()

    def on_mount(self) -> None:
        self.show()

    def show(self) -> None:
        """Read the layer's parameters anew."""
        self.query_one(LayerTable).show(self._trace.parameters_of(self._layer))


class Watch(App[GradtraceError]):
    """Verdict, findings and layers of a growing trace. Ends with the error that makes it end, if one does."""

    TITLE = "gradtrace watch"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #verdict { padding: 0 1; text-style: bold; }
    #pace { padding: 0 1; color: $text-muted; }
    #findings { padding: 0 1; max-height: 40%; overflow-y: auto; }
    LayerTable { height: 1fr; }
    """
    BINDINGS: ClassVar = [
        Binding("s", "sort", "Sort"),
        Binding("minus", "fold(-1)", "Fold"),
        Binding("plus,equals_sign", "fold(1)", "Unfold"),
        Binding("f,space", "freeze", "Freeze"),
        Binding("enter", "open", "Open layer", priority=False),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, path: Path, rank: int = 0, interval: float = 1.0) -> None:
        super().__init__()
        self._trace = GrowingTrace(path, rank)
        self._diagnosis = Diagnosis(path)
        self._interval = interval
        self._depth: int | None = None
        self._sort = 0
        self._frozen = False
        self._findings: list[Finding] = []
        self._diagnosing = False

    def compose(self) -> ComposeResult:
        yield Static(id="verdict")
        yield Static(id="pace")
        yield Static(id="findings")
        yield LayerTable()
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(LayerTable).focus()
        self._tick()
        self.set_interval(self._interval, self._tick)

    def _tick(self) -> None:
        if self._frozen or self._is_closing:
            return
        if not self._is_there():
            self._say("#verdict", f"waiting for {self._trace.awaited}")
            return
        self._diagnose()
        self._show()

    def _is_there(self) -> bool:
        """See what was written since; False where there is no trace yet."""
        try:
            return self._trace.refresh()
        except GradtraceError as error:
            self.exit(error)
            return False

    @property
    def _is_closing(self) -> bool:
        """A last tick may come when the app has taken its widgets down already."""
        return not (self.screen_stack and self.screen_stack[0].query("#verdict"))

    def _diagnose(self) -> None:
        if not self._diagnosing and self._diagnosis.due:
            self._diagnosing = True
            self.run_worker(self._find, thread=True, exclusive=True)

    def _find(self) -> None:
        try:
            found = self._diagnosis.run()
        except GradtraceError as error:
            self.call_from_thread(self.exit, error)
            return
        self.call_from_thread(self._show_findings, found)

    def _show_findings(self, findings: list[Finding]) -> None:
        self._diagnosing = False
        if not self._frozen and not self._is_closing:
            self._findings = findings
            self._show()

    def _show(self) -> None:
        pace = self._trace.pace()
        grave = self._findings[0].severity if self._findings else None
        style = _COLORS[grave] if grave else "green"
        self._say("#verdict", headline(self._findings, len(self._trace.recording)), style)
        order = "" if self._sort == 0 else f"  ·  by {SORTS[self._sort]}"
        self._say("#pace", f"{describe(pace, self._trace.status())}{order}")
        self.query_one("#findings", Static).update(_findings_text(self._findings))
        self.query_one(LayerTable).show(self._trace.layers(self._depth, SORTS[self._sort]))
        if isinstance(self.screen, LayerScreen):
            self.screen.show()

    def _say(self, place: str, text: str, style: str = "") -> None:
        # The screen on top may be a layer's; the lines are those of the first one.
        self.screen_stack[0].query_one(place, Static).update(Text(text, style=style))

    def action_sort(self) -> None:
        """Order the layers by the next of `SORTS`."""
        self._sort = (self._sort + 1) % len(SORTS)
        self._redraw()

    def action_fold(self, by: int) -> None:
        """Show one level of modules less or more."""
        if not self._is_there():
            return
        deepest = self._trace.deepest
        depth = min(deepest, max(1, (self._depth or deepest) + by))
        self._depth = depth if depth < deepest else None
        self._redraw()

    def action_freeze(self) -> None:
        """Stop, so that one can read; go on at the second time."""
        self._frozen = not self._frozen
        self.sub_title = "frozen" if self._frozen else ""
        if self._frozen:
            self.notify("frozen; press f to go on")
        else:
            self._tick()

    def action_open(self) -> None:
        """Show the parameters of the layer under the cursor."""
        chosen = self.query_one(LayerTable).chosen
        if chosen is not None:
            self.push_screen(LayerScreen(self._trace, chosen))

    def on_data_table_row_selected(self) -> None:
        """Enter on a row, which the table takes for itself."""
        if not isinstance(self.screen, LayerScreen):
            self.action_open()

    def _redraw(self) -> None:
        if self._is_there():
            self._show()


def _findings_text(findings: list[Finding]) -> Text:
    text = Text()
    for finding in findings:
        first, *rest = lines(finding)
        text.append(f"{first}\n", style=_COLORS[finding.severity])
        text.append("".join(f"{line}\n" for line in rest[:1]), style="dim")
    text.rstrip()
    return text
