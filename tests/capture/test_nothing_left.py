"""At exit every hook, patch, thread, file and reference is gone, however the block was left."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import residue
import torch
import traced_zoo
import zoo
from torch import Tensor, nn

import gradtrace


class Stop(KeyboardInterrupt):
    """An interrupt of the test's own, so that pytest's is told apart."""


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """What torch imports and caches at first use is no residue."""
    for mode in ({}, {"graph": "all", "replay": True}):
        with gradtrace.trace(on_finding="ignore", **mode):
            for program in zoo.selected(slow=False):
                zoo.run(program)
    gc.collect()


@pytest.mark.parametrize("mode", traced_zoo.MODES)
def test_nothing_is_left_after_the_zoo(mode: str, tmp_path: Path) -> None:
    before = residue.survey()
    with gradtrace.trace(out=tmp_path / "t.gradtrace", on_finding="ignore", **traced_zoo.MODES[mode]):
        inside = residue.survey()
        for program in zoo.selected(slow=False):
            zoo.run(program)
    assert residue.differences(before, inside) != []
    assert residue.differences(before, residue.survey()) == []


def test_the_survey_sees_what_is_left() -> None:
    before = residue.survey()
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    original, nn.Linear.forward = nn.Linear.forward, lambda *_: None
    seen = residue.differences(before, residue.survey())
    handle.remove()
    nn.Linear.forward = original
    assert len(seen) == 2
    assert residue.differences(before, residue.survey()) == []


def _train(model: nn.Module, steps: int = 4) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    step = zoo.plain_step(model, optimizer)
    for number in range(steps):
        step(number)


class _Stopping(nn.Module):
    """Interrupts its program in a forward, in a backward or in an optimizer step."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.place = place
        self.calls = 0
        if place == "backward":
            self.layer.weight.register_hook(self.stop)

    def stop(self, *_: Any) -> None:
        self.calls += 1
        if self.calls == 3:
            raise Stop

    def forward(self, x: Tensor) -> Tensor:
        if self.place == "forward":
            self.stop()
        return self.layer(x)


def _interrupted(place: str, path: Path, options: dict[str, Any]) -> None:
    model = _Stopping(place)
    with gradtrace.trace(out=path, on_finding="ignore", **options):
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        if place == "step":
            optimizer.register_step_pre_hook(model.stop)
        step = zoo.plain_step(model, optimizer)
        for number in range(5):
            step(number)


@pytest.mark.parametrize("mode", traced_zoo.MODES)
@pytest.mark.parametrize("place", ["forward", "backward", "step"])
def test_nothing_is_left_after_an_interrupt(place: str, mode: str, tmp_path: Path) -> None:
    before = residue.survey()
    with pytest.raises(Stop):
        _interrupted(place, tmp_path / "t.gradtrace", traced_zoo.MODES[mode])
    assert residue.differences(before, residue.survey()) == []


def test_a_trace_without_a_path_leaves_no_file_once_it_is_dropped() -> None:
    before = residue.survey()
    with gradtrace.trace(on_finding="ignore") as trace:
        _train(zoo.mlp())
    assert len(trace.recording().backwards()) == 4
    del trace
    gc.collect()
    assert residue.differences(before, residue.survey()) == []


def _failing() -> None:
    with gradtrace.trace(on_finding="ignore"):
        _train(zoo.mlp())
        raise ZeroDivisionError


def test_a_failing_block_leaves_no_file(tmp_path: Path) -> None:
    before = residue.survey()
    with pytest.raises(ZeroDivisionError):
        _failing()
    gc.collect()
    assert residue.differences(before, residue.survey()) == []


@pytest.mark.parametrize("mode", traced_zoo.MODES)
def test_the_program_keeps_nothing_of_ours_and_we_nothing_of_its(mode: str, tmp_path: Path) -> None:
    model = zoo.mlp()
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore", **traced_zoo.MODES[mode]) as trace:
        step = zoo.plain_step(model, optimizer)
        losses = [step(number) for number in range(4)]
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    for parameter in model.parameters():
        assert not parameter._backward_hooks
        assert parameter._post_accumulate_grad_hooks is None
    watched = [weakref.ref(thing) for thing in (model, optimizer, *model.parameters(), *losses)]
    del model, optimizer, step, losses, module, parameter
    gc.collect()
    assert [reference() for reference in watched if reference() is not None] == []
    assert len(trace.recording().snapshots) >= 1 or mode == "off"


@pytest.mark.parametrize("mode", traced_zoo.MODES)
def test_the_graph_of_a_step_is_free_before_the_next(mode: str, tmp_path: Path) -> None:
    """What the program drops is freed at once, by reference counts alone; only replay keeps a step until the next."""
    model = zoo.mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    gc.collect()
    gc.disable()
    try:
        with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore", **traced_zoo.MODES[mode]):
            previous: list[weakref.ref[Tensor]] = []
            for _ in range(8):
                x, y = zoo.batch()
                hidden = model[:2](x)
                loss = nn.functional.mse_loss(model[2:](hidden), y)
                assert [reference() for reference in previous if reference() is not None] == []
                previous = [weakref.ref(hidden), weakref.ref(loss)]
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                del hidden, loss
    finally:
        gc.enable()
