"""The live view, driven through textual's pilot, on traces that grow while it looks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from traces import write_trace

from gradtrace.cli.watch import command
from gradtrace.errors import GradtraceError, MissingToolError, UnreadableTraceError
from gradtrace.model import BACKWARD
from gradtrace.store.claim import claimed, release
from gradtrace.store.writer import Writer

pytest.importorskip("textual")

from textual.widgets import Static

from gradtrace.cli.watching.app import LayerScreen, LayerTable, Watch
from gradtrace.cli.watching.growing import Diagnosis, GrowingTrace, describe

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from gradtrace.model import Finding


def drive(app: Watch, act: Callable[[Pilot], Awaitable[None]]) -> None:
    """Run the app without a terminal and do `act` to it."""

    async def run() -> None:
        async with app.run_test(size=(140, 40)) as pilot:
            await settle(pilot)
            await act(pilot)

    asyncio.run(run())


async def settle(pilot: Pilot) -> None:
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def until(pilot: Pilot, pace: str) -> None:
    """Wait until the line of the pace says so; ten seconds at most, on a machine with much to do."""
    for _ in range(100):
        if pace in text(pilot.app, "#pace"):
            return
        await pilot.pause(0.1)
    raise AssertionError(f"{pace!r} not in {text(pilot.app, '#pace')!r}")


async def end(pilot: Pilot) -> None:
    """Wait until the app ends by itself; ten seconds at most."""
    for _ in range(100):
        if pilot.app.return_value is not None:
            return
        await pilot.pause(0.1)


async def ended(app: Watch) -> None:
    async with app.run_test() as pilot:
        await end(pilot)


def text(app: Watch, place: str) -> str:
    return str(app.screen_stack[0].query_one(place, Static).content)


def names(app: Watch) -> list[str | None]:
    return [row.value for row in app.screen_stack[0].query_one(LayerTable).rows]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return write_trace(tmp_path / "run.gradtrace", backwards=50, layers=4, name="block.layer", close=False)


def test_verdict_pace_and_layers(trace):
    async def look(pilot: Pilot) -> None:
        app = pilot.app
        assert "in 50 backwards" in text(app, "#verdict")
        assert text(app, "#pace").startswith("running  ·  backward 50  ·  step 49  ·  loss 0.0200  ·  8 steps/s")
        assert names(app) == [f"block.layer{at}.weight" for at in range(4)]
        assert len(str(app.query_one(LayerTable).get_cell("block.layer0.weight", "over time"))) == 32

    drive(Watch(trace), look)


def test_it_sees_what_is_written_meanwhile(tmp_path):
    path = tmp_path / "run.gradtrace"
    app = Watch(path, interval=0.05)

    async def grow(pilot: Pilot) -> None:
        assert text(app, "#verdict") == f"waiting for {path}"
        write_trace(path, backwards=10, layers=2, close=False)
        await until(pilot, "backward 10")
        path.unlink()
        for leftover in tmp_path.glob("run.gradtrace-*"):
            leftover.unlink()
        write_trace(path, backwards=25, layers=2)
        await until(pilot, "ended  ·  backward 25")

    drive(app, grow)


def test_findings_appear(tmp_path):
    path = write_trace(tmp_path / "run.gradtrace", backwards=60, layers=3, change=(1, 0, float("nan")))

    async def look(pilot: Pilot) -> None:
        assert "GT" in text(pilot.app, "#findings")

    drive(Watch(path), look)


def test_sort(trace):
    async def act(pilot: Pilot) -> None:
        await pilot.press("s", "s")
        await settle(pilot)
        norms = GrowingTrace(trace)
        norms.refresh()
        assert names(pilot.app) == [layer.name for layer in norms.layers(sort="gradient")]
        assert "by gradient" in text(pilot.app, "#pace")

    drive(Watch(trace), act)


def test_fold_and_unfold(trace):
    async def act(pilot: Pilot) -> None:
        await pilot.press("minus")
        assert names(pilot.app) == [f"block.layer{at}" for at in range(4)]
        await pilot.press("minus", "minus")
        assert names(pilot.app) == ["block"]
        await pilot.press("plus", "plus", "plus")
        assert names(pilot.app) == [f"block.layer{at}.weight" for at in range(4)]

    drive(Watch(trace), act)


def test_freeze(tmp_path):
    path = tmp_path / "run.gradtrace"
    write_trace(path, backwards=10, layers=2, close=False)
    app = Watch(path, interval=0.05)

    async def act(pilot: Pilot) -> None:
        await pilot.press("f")
        path.unlink()
        write_trace(path, backwards=20, layers=2)
        await pilot.pause(0.2)
        assert "backward 10" in text(app, "#pace")
        await pilot.press("f")
        await until(pilot, "backward 20")

    drive(app, act)


def test_open_a_layer_and_close_it(trace):
    async def act(pilot: Pilot) -> None:
        await pilot.press("minus", "down", "down", "enter")
        await settle(pilot)
        assert isinstance(pilot.app.screen, LayerScreen)
        rows = [row.value for row in pilot.app.screen.query_one(LayerTable).rows]
        assert rows == ["block.layer2.weight"]
        await pilot.press("escape")
        assert not isinstance(pilot.app.screen, LayerScreen)

    drive(Watch(trace), act)


def test_the_cursor_stays_on_its_layer(trace):
    async def act(pilot: Pilot) -> None:
        await pilot.press("down", "down")
        assert pilot.app.query_one(LayerTable).chosen == "block.layer2.weight"
        await pilot.press("s", "s", "s")
        assert pilot.app.query_one(LayerTable).chosen == "block.layer2.weight"

    drive(Watch(trace), act)


def test_speed_and_cost_of_tracing(tmp_path):
    path = tmp_path / "run.gradtrace"
    writer = Writer(path, {"version": "0.1.0"})
    known = [{"number": n, "step": n - 1, "time": n / 4, "loss": np.nan, "overhead": 0.01} for n in range(1, 102)]
    rows = [tuple(record.get(name, 0) for name in BACKWARD.names) for record in known]
    writer.put_rows(rows, [], [np.zeros((3, 1), np.float32)] * len(rows))
    writer.flush()
    trace = GrowingTrace(path)
    trace.refresh()
    pace = trace.pace()
    writer.abandon()
    assert pace.steps_per_second == pytest.approx(4)
    assert pace.tracing == pytest.approx(0.04, rel=1e-3)
    assert describe(pace, "running").endswith("4 steps/s  ·  tracing costs 4.0 %")


def test_a_silent_program_is_said_to_be_silent(trace, monkeypatch):
    growing = GrowingTrace(trace)
    growing.refresh()
    now = trace.stat().st_mtime + 90
    monkeypatch.setattr("gradtrace.cli.watching.growing.time.time", lambda: now)
    assert growing.status() == "silent for 90 seconds"


def test_a_file_of_another_kind_is_refused(tmp_path):
    other = tmp_path / "other.gradtrace"
    other.write_text("something else")
    with pytest.raises(UnreadableTraceError):
        GrowingTrace(other).refresh()


def test_a_file_of_another_rank_is_refused_and_one_in_a_folder_awaited(tmp_path):
    folder = tmp_path / "ranks"
    folder.mkdir()
    file = write_trace(folder / "rank0.gradtrace", backwards=3, layers=1, meta={"rank": 0})
    with pytest.raises(GradtraceError, match="has no rank 1; choose one of 0"):
        GrowingTrace(file, rank=1).refresh()
    growing = GrowingTrace(folder, rank=1)
    assert (growing.refresh(), growing.awaited) == (False, f"rank 1 in {folder}")
    write_trace(folder / "rank1.gradtrace", backwards=5, layers=1, meta={"rank": 1})
    assert growing.refresh()
    assert len(growing.recording) == 5


def test_a_trace_that_is_being_made_is_awaited(tmp_path):
    path = tmp_path / "run.gradtrace"
    with claimed(path):
        path.touch()
        assert not GrowingTrace(path).refresh()
    release(path)


def test_a_trace_that_is_replaced_by_something_else_ends_the_view(trace):
    app = Watch(trace, interval=0.05)

    async def replace(pilot: Pilot) -> None:
        for file in trace.parent.glob(f"{trace.name}*"):  # the log too, or SQLite goes on reading that
            file.unlink()
        trace.write_bytes(b"something else" * 100)
        await end(pilot)

    drive(app, replace)
    assert "is no gradtrace trace" in str(app.return_value)


def test_a_diagnosis_that_fails_ends_the_view(trace, monkeypatch):
    def fail(self: Diagnosis) -> list[Finding]:
        raise GradtraceError("plugin x failed")

    monkeypatch.setattr(Diagnosis, "run", fail)
    app = Watch(trace)
    asyncio.run(ended(app))
    assert str(app.return_value) == "plugin x failed"


def test_without_a_terminal():
    result = CliRunner().invoke(command, ["run.gradtrace"])
    assert "watch needs a terminal; use gradtrace show run.gradtrace" in str(result.exception)


def test_without_textual(monkeypatch):
    monkeypatch.delitem(sys.modules, "gradtrace.cli.watching.app")
    monkeypatch.setitem(sys.modules, "textual", None)
    for loaded in [name for name in sys.modules if name.startswith("textual.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(sys, "stdout", Terminal())
    with pytest.raises(MissingToolError, match=r"pip install 'gradtrace\[watch\]'"):
        command.callback(trace=Path("run.gradtrace"), rank=0, interval=1.0)


class Terminal:
    """Standard output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_help_has_an_example_and_imports_neither_torch_nor_textual():
    program = (
        "import sys; from gradtrace.cli import main\n"
        "try: main(['watch', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'textual'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Example: gradtrace watch" in done.stdout


def test_a_trace_without_a_backward_yet_is_watched(tmp_path):
    """It counts as nothing, but it is there."""
    growing = GrowingTrace(write_trace(tmp_path / "run.gradtrace", backwards=0, layers=2, snapshots=(), close=False))
    assert growing.refresh()
    assert len(growing.recording) == 0
