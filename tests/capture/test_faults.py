"""A fault inside the tracer disarms it, is said once, and leaves training bit-identical."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import residue
import traced_zoo
import zoo

import gradtrace
import gradtrace.capture
from gradtrace.store.recording import Recording

COURSE = (
    "deep_mlp",
    "custom_functions",
    "cpu_grad_scaler",
    "clipping",
    "nan_from_sqrt_at_zero",
    "nan_in_forward",
    "nan_in_wide_forward",
    "backward_twice_caught",
    "inplace_overwrite",
    "detached_loss",
    "gradients_globally_off",
    "sparse_embedding",
    "modules_come_and_go",
    "optimizer_in_backward",
    "checkpoint_reentrant",
    "gradients_set_by_hand",
    "weights_moved_by_hand",
    "leaves_of_computed_values",
    "trained_in_eval_mode",
    "backwards_at_once",
)
"""Programs that together pass through every corner of the tracer."""

COMPILED_COURSE = ("compiled_aot_eager",)
"""A program for what only compiled ones pass through; compiling it takes seconds."""

COMPILED = {"_Expansion", "_Owners", "CompiledRegions", "GraphBreaks"}
READING = {("CompiledRegions", "_keep"), ("_Owners", "of"), ("SiteTable", "of_stack")}
"""What reads a compiled region: after a fault there it stays one box, and the trace says why."""

NOT_IN_TRAINING = {
    "differences",
    "explain",
    "explain_trace",
    "live",
    "oneshot",
    "options",
    "recipe",
    "session",
    "slopes",
    "torchviz_adapter",
    "tracing",
    "verdicts",
    "waiting",
}
"""Modules that answer a person's question outside a traced block, are done before it begins, or stand around the
tracer."""

THE_NET = {"disarm", "_report", "_take_off", "stop", "remove", "drop", "clear"}
"""What catches faults and takes the hooks off is kept short and is not made to fail itself."""


GENERATED = {"_replace", "_asdict", "_make"}
"""What `NamedTuple` adds."""


def _methods(owner: type) -> Iterator[str]:
    for name, member in vars(owner).items():
        special = (name.startswith("__") and name != "__torch_function__") or name in GENERATED
        if inspect.isfunction(member) and not special and name not in THE_NET:
            yield name


OUTERMOST = {
    ("GlobalSwitch", "_watching"),
    ("Journal", "__torch_function__"),
    ("Measurement", "_before"),
    ("Measurement", "_after"),
    ("Measurement", "_before_shared"),
    ("Measurement", "_guarded"),
    ("ModuleWatch", "_enter"),
    ("ModuleWatch", "_leave"),
    ("PassingGradients", "_measure"),
    ("PassingGradients", "_measure"),
    ("Sightings", "_opening"),
    ("Sightings", "_closing"),
    ("Tracer", "start"),
    ("Tracer", "_is_ours"),
    ("CompiledRegions", "_tried"),
    ("Tracer", "_guarded"),
    ("Tracer", "_guarded_begin"),
    ("Tracer", "_before_step"),
    ("Tracer", "_after_step"),
    ("Tracer", "_told"),
    ("Lens", "shut"),
}
"""What torch itself calls, or what takes hooks off: the guard is inside, so a break from outside it tells nothing."""

OFF_COURSE = {
    ("GradientReader", "_given"),
    ("CutTracker", "_origin_of"),
    ("CutTracker", "note_entry"),
    ("LiveGraph", "_ease_the_end"),
    ("Lens", "_noting_compile"),
    ("Lens", "found_compiled"),
    ("LoopWatch", "_clipping_value"),
    ("LoopWatch", "_module_cleared"),
    ("GradientLedger", "_is_forward_since"),
    ("GradientLedger", "_is_uncleared"),
    ("StepWatch", "_overwritten_at"),
    ("GraphWatch", "must_look_first"),
    ("LoopWatch", "_moved_by_hand"),
    ("Registry", "_find_sharded"),
    ("Registry", "_stands_in"),
    ("Registry", "_is_free"),
    ("Registry", "adopt"),
    ("Registry", "add_loose_leaf"),
    ("Output", "names"),
    ("Row", "put_device"),
    ("Schedule", "_cycle"),
    ("Schedule", "trigger"),
    ("Schedule", "walk_due"),
    ("Tracer", "_found_compiled"),
    ("Tracer", "_judge_late"),
    ("BackwardWatch", "judge_late"),
    ("Tracer", "_say_capturing"),
    ("UnitWindow", "_found"),
    ("_Finder", "_came_in"),
    ("_Finder", "_is_data"),
    ("_Finder", "_is_deliberate"),
    ("_Finder", "follow_saved"),
}
"""What the course does not pass through: accelerators, clipping by value, long runs, weights moved by hand late in a
program, gradients zeroed by hand, deep graphs, sharded parameters, ..."""


def _entries() -> list[tuple[type, str]]:
    """Every method of every class that listens to a program."""
    found = []
    for each in pkgutil.iter_modules(gradtrace.capture.__path__):
        if each.name in NOT_IN_TRAINING:
            continue
        module = importlib.import_module(f"gradtrace.capture.{each.name}")
        classes = [
            value
            for value in vars(module).values()
            if inspect.isclass(value) and value.__module__ == module.__name__ and Protocol not in value.__bases__
        ]
        found += [(owner, name) for owner in classes for name in _methods(owner)]
    left_out = OUTERMOST | OFF_COURSE
    return [(owner, name) for owner, name in found if (owner.__name__, name) not in left_out]


class InjectedError(Exception):
    """Ours, raised by the test."""


class Breaking:
    """Replaces a method by one that fails at one of its calls."""

    def __init__(self, original: Callable[..., Any], at: int) -> None:
        self.calls = 0
        self.at = at
        self.original = original

    def method(self) -> Callable[..., Any]:
        @functools.wraps(self.original)
        def breaking(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == self.at:
                raise InjectedError(f"call {self.at} of {self.original.__qualname__}")
            return self.original(*args, **kwargs)

        return breaking


def _course(owner: type, name: str) -> tuple[str, ...]:
    """The programs that pass by a method."""
    is_compiled = owner.__name__ in COMPILED or (owner.__name__, name) in READING
    return COMPILED_COURSE if is_compiled else COURSE


@functools.cache
def _expected(course: tuple[str, ...]) -> list[zoo.Outcome]:
    return [zoo.untraced(program) for program in course]


@pytest.mark.parametrize("at", [1, pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("owner", "name"), _entries(), ids=lambda value: getattr(value, "__name__", value))
def test_a_fault_disarms_and_is_said_once(
    owner: type, name: str, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    course = _course(owner, name)
    expected = _expected(course)
    breaking = Breaking(vars(owner)[name], at)
    before = residue.survey()
    monkeypatch.setattr(owner, name, breaking.method())
    with gradtrace.trace(out=tmp_path / "t.gradtrace", on_finding="ignore", graph="all", replay=True):
        outcomes = [zoo.run(zoo.ZOO[program]) for program in course]
    monkeypatch.undo()
    assert breaking.calls, "the course does not come by here"
    said = [line for line in capsys.readouterr().err.splitlines() if "internal error" in line]
    is_read = (owner.__name__, name) in READING
    assert len(said) == (1 if breaking.calls >= at and not is_read else 0), said
    assert [outcome.exception for outcome in outcomes] == [outcome.exception for outcome in expected]
    assert outcomes == expected
    assert residue.differences(before, residue.survey()) == []
    with Recording(tmp_path / "t.gradtrace") as recording:
        assert len(traced_zoo.internal_errors(recording)) == len(said)
        unread = [event.payload["unread"] for event in recording.events("compiler")]
    assert not is_read or breaking.calls < at or "InjectedError" in str(unread[0])
