"""Training is the same to the bit with and without a tracer, over the whole zoo and in every mode."""

from __future__ import annotations

from pathlib import Path

import pytest
import traced_zoo
import zoo


def _compare(name: str, path: Path, mode: str) -> None:
    expected = zoo.untraced(name)
    outcome, recording = traced_zoo.traced(zoo.ZOO[name], path, **traced_zoo.MODES[mode])
    assert traced_zoo.internal_errors(recording) == []
    for part in zoo.Outcome._fields:
        assert getattr(outcome, part) == getattr(expected, part), part


@pytest.mark.parametrize("mode", traced_zoo.MODES)
@pytest.mark.parametrize("name", [program.name for program in zoo.selected(slow=False)])
def test_training_is_bit_identical(name: str, mode: str, tmp_path: Path) -> None:
    _compare(name, tmp_path / "t.gradtrace", mode)


@pytest.mark.slow
@pytest.mark.parametrize("mode", traced_zoo.MODES)
@pytest.mark.parametrize("name", [program.name for program in zoo.selected(slow=True)])
def test_slow_training_is_bit_identical(name: str, mode: str, tmp_path: Path) -> None:
    _compare(name, tmp_path / "t.gradtrace", mode)


@pytest.mark.parametrize("program", zoo.ZOO.values(), ids=zoo.ZOO)
def test_zoo_ends_as_declared(program: zoo.Awkward) -> None:
    """A program that fails by accident would compare equal and prove nothing."""
    if program.slow:
        return
    outcome = zoo.untraced(program.name)
    if program.raises is None:
        assert outcome.exception is None
        assert outcome.losses
    else:
        assert outcome.exception is not None
        assert outcome.exception[1].startswith(program.raises)


def test_zoo_is_deterministic() -> None:
    program = zoo.ZOO["lstm"]
    assert zoo.run(program) == zoo.run(program)
