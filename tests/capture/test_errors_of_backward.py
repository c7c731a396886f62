"""torch's own exceptions, with notes that name the lines involved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gradtrace

LINES = Path(__file__).read_text().splitlines()


def _line(mark: str) -> int:
    return next(number for number, text in enumerate(LINES, 1) if text.endswith(f"# {mark}"))


def _raised(program: Callable[[], None], words: str, tmp_path: Path) -> tuple[dict[str, Any], list[str]]:
    """The payload of the event, and the notes of the exception, that a program's last backward ends with."""
    with (
        gradtrace.trace(out=tmp_path / "t.gradtrace", on_finding="ignore") as trace,
        pytest.raises(RuntimeError, match=words) as raised,
    ):
        program()
    (event,) = trace.recording().events("exception")
    return dict(event.payload), raised.value.__notes__ if hasattr(raised.value, "__notes__") else []


def test_a_state_carried_into_a_freed_graph_names_the_line_that_takes_it_over(tmp_path: Path) -> None:
    def program() -> None:
        cell, state = nn.Linear(3, 3), torch.zeros(2, 3)
        for _ in range(2):
            moved = cell(torch.ones(2, 3))
            state = torch.tanh(state + moved)  # takes over
            state.sum().backward()

    payload, notes = _raised(program, "a second time", tmp_path)
    assert (payload["type"], payload["op"]) == ("second_backward", "TanhBackward0")
    assert payload["joined"]["line"] == _line("takes over")
    assert any("uses a value of an earlier forward" in note for note in notes)


def test_one_loss_walked_twice_has_no_line_that_takes_over(tmp_path: Path) -> None:
    def program() -> None:
        loss = torch.tanh(nn.Linear(3, 1)(torch.ones(2, 3))).sum()
        loss.backward()
        loss.backward()

    payload, notes = _raised(program, "a second time", tmp_path)
    assert payload["type"] == "second_backward"
    assert "joined" not in payload
    assert not notes


def test_of_two_calls_that_took_the_same_part_out_the_later_one_is_blamed(tmp_path: Path) -> None:
    def program() -> None:
        loss = nn.Linear(3, 1)(torch.ones(2, 3)).square().mean()
        penalty = loss.item() - 1.0
        torch.tensor(loss.item() + penalty).backward()  # detached

    payload, _ = _raised(program, "does not require grad", tmp_path)
    assert payload["cut"]["line"] == _line("detached")


def test_tracers_within_each_other_note_it_once(tmp_path: Path) -> None:
    def program() -> None:
        with gradtrace.trace(on_finding="ignore"):
            changed = torch.ones(3, requires_grad=True).exp()
            changed.add_(1)
            changed.sum().backward()

    _, notes = _raised(program, "modified by an inplace operation", tmp_path)
    assert len(notes) == 1
