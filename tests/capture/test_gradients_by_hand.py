"""The ledger of gradients: what a step finds in `.grad`, whoever wrote it; and modules that torch does not list."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import gradtrace
from gradtrace.capture.by_hand import PROBATION, Moves
from gradtrace.model import LoopKind, StepFlag

ZEROING = {
    "in place": lambda gradient: gradient.zero_(),
    "through data": lambda gradient: gradient.data.zero_(),
    "by a factor": lambda gradient: gradient.mul_(0),
}


def _flags(trace: gradtrace.Trace) -> list[StepFlag]:
    records = trace.recording().loop()
    return [StepFlag(int(flags)) for flags in records["flags"][records["kind"] == LoopKind.STEP]]


@pytest.mark.parametrize("set_to_none", [True, False])
def test_a_gradient_assigned_by_hand_is_fresh(tmp_path: Path, set_to_none: bool) -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        for _ in range(3):
            optimizer.zero_grad(set_to_none=set_to_none)
            gradients = torch.autograd.grad(model(torch.ones(2, 3)).sum(), list(model.parameters()))
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
    assert all(StepFlag.FRESH in flags for flags in _flags(trace))
    assert len(_flags(trace)) == 3


def test_zeros_that_zero_grad_left_are_not_fresh(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        for _ in range(3):
            model(torch.ones(2, 3)).sum().backward()
            optimizer.zero_grad(set_to_none=False)
            optimizer.step()
    assert not any(StepFlag.FRESH in flags for flags in _flags(trace))


def test_a_gradient_put_in_the_place_of_the_backwards_own(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        for by_hand in (False, True):
            optimizer.zero_grad()
            model(torch.ones(2, 3)).sum().backward()
            if by_hand:
                for parameter in model.parameters():
                    parameter.grad = torch.ones_like(parameter)
            optimizer.step()
    assert [StepFlag.BY_HAND in flags for flags in _flags(trace)] == [False, True]


class Kept(nn.Module):
    """Keeps its layers where torch does not look."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.listed = [nn.Linear(3, 3)]
        self.keyed = {"last": nn.Sequential(nn.Linear(3, 1))}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.keyed["last"](self.listed[0](self.first(x)))
        return out


def test_modules_in_plain_containers_are_named_by_their_place(tmp_path: Path) -> None:
    model = Kept()
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        model(torch.ones(2, 3)).sum().backward()
    names = [parameter.name for parameter in trace.recording().parameters]
    assert names == [
        *("first.weight", "first.bias", "listed[0].weight", "listed[0].bias"),
        *("keyed[last].0.weight", "keyed[last].0.bias"),
    ]


def _loop(trace: gradtrace.Trace, kind: LoopKind) -> list[StepFlag]:
    records = trace.recording().loop()
    return [StepFlag(int(flags)) for flags in records["flags"][records["kind"] == kind]]


def test_a_gradient_left_over_while_others_are_written_is_still_left_over(tmp_path: Path) -> None:
    """Between two steps of the critic stands a backward that has nothing to do with it."""
    actor, critic = nn.Linear(3, 1), nn.Linear(3, 1)
    optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
    with gradtrace.trace(nn.ModuleList([actor, critic]), out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        for _ in range(3):
            actor(torch.ones(2, 3)).sum().backward()
            critic(torch.ones(2, 3)).sum().backward()
            optimizer.step()
    assert [StepFlag.STALE in flags for flags in _flags(trace)] == [False, True, True]


def test_zeros_written_through_data_are_no_leftovers(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        for _ in range(3):
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad.data.zero_()
            model(torch.ones(2, 3)).sum().backward()
            optimizer.step()
    assert not any(StepFlag.STALE in flags for flags in _flags(trace))


@pytest.mark.parametrize("clear", [*ZEROING.values(), None], ids=[*ZEROING, "never"])
def test_a_critic_cleared_by_hand_before_its_turn(tmp_path: Path, clear: Callable[[Tensor], object] | None) -> None:
    """The generator's backward adds to what the critic's step left; what is zeroed after that is left over no more."""
    critic, generator = nn.Linear(2, 1), nn.Linear(3, 2)
    optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
    other = torch.optim.SGD(generator.parameters(), lr=0.1)
    with gradtrace.trace(out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        for _ in range(3):
            for parameter in critic.parameters():
                if clear is not None and parameter.grad is not None:
                    clear(parameter.grad)
            critic(torch.ones(2, 2)).sum().backward()
            optimizer.step()
            other.zero_grad()
            critic(generator(torch.ones(2, 3))).sum().backward()
            other.step()
    assert [StepFlag.STALE in flags for flags in _flags(trace)[::2]] == [False, *[clear is None] * 2]


@pytest.mark.parametrize("through_data", [True, False])
@pytest.mark.parametrize("clear", [True, False])
def test_weights_moved_by_hand(tmp_path: Path, through_data: bool, clear: bool) -> None:
    model = nn.Linear(3, 1)
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        for _ in range(4):
            model(torch.ones(2, 3)).square().sum().backward()
            for parameter in model.parameters():
                assert parameter.grad is not None
                if through_data:
                    parameter.data -= 0.01 * parameter.grad.data
                else:
                    with torch.no_grad():
                        parameter.sub_(parameter.grad, alpha=0.01)
                if clear:
                    parameter.grad.data.zero_()
    assert [StepFlag.STALE in flags for flags in _loop(trace, LoopKind.MOVED)] == [not clear] * 3


def test_weights_that_an_optimizer_moves_are_not_moved_by_hand(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        for _ in range(4):
            optimizer.zero_grad()
            model(torch.ones(2, 3)).sum().backward()
            optimizer.step()
    assert _loop(trace, LoopKind.MOVED) == []


def test_a_step_knows_whether_something_was_computed_before_it(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
        with torch.no_grad():
            model(torch.ones(2, 3))
        optimizer.step()
        model(torch.ones(2, 3))
        optimizer.step()
    assert [StepFlag.FORWARD in flags for flags in _flags(trace)] == [True, False, True]


def test_gradients_cleared_by_hand_are_told_with_their_line(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        for _ in range(3):
            model(torch.ones(2, 3)).sum().backward()
            for parameter in model.parameters():
                parameter.grad = None  # by hand
            optimizer.step()
    records, sources = trace.recording().loop(), trace.recording().sources
    (site,) = set(records["site"][records["kind"] == LoopKind.ZERO_GRAD].tolist())
    source = sources[site]
    assert source is not None
    assert source.text == "parameter.grad = None  # by hand"


def _zeroed_before_each_step(out: Path, model: nn.Sequential, zero: Callable[[Tensor], object]) -> gradtrace.Trace:
    """Train, with the gradients of the last layer zeroed between each backward and its step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradtrace.trace(out=out, on_finding="ignore") as trace:
        for _ in range(PROBATION + 3):
            optimizer.zero_grad()
            model(torch.ones(2, 3)).sum().backward()
            for parameter in model[-1].parameters():
                assert parameter.grad is not None
                zero(parameter.grad)
            optimizer.step()
    return trace


@pytest.mark.parametrize("zero", ZEROING.values(), ids=ZEROING)
def test_gradients_zeroed_by_hand_are_cleared(tmp_path: Path, zero: Callable[[Tensor], object]) -> None:
    trace = _zeroed_before_each_step(tmp_path / "t.gradtrace", nn.Sequential(nn.Linear(3, 1)), zero)
    assert not any(StepFlag.FRESH in flags for flags in _flags(trace))
    assert all(StepFlag.CLEARED in flags for flags in _flags(trace))
    (finding,) = trace.findings
    assert finding.code == "GT404"
    assert finding.where.source is not None
    assert "lambda gradient" in str(finding.where.source.text)


def test_a_part_frozen_by_zeroing_its_gradients_is_healthy(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    trace = _zeroed_before_each_step(tmp_path / "t.gradtrace", model, ZEROING["in place"])
    assert all(StepFlag.FRESH in flags for flags in _flags(trace))
    assert [finding for finding in trace.findings if finding.severity != "note"] == []


def test_zeros_that_a_backward_wrote_are_not_cleared(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradtrace.trace(model, out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        for _ in range(3):
            optimizer.zero_grad()
            (model(torch.ones(2, 3)).sum() * 0).backward()
            optimizer.step()
    assert all(StepFlag.FRESH in flags for flags in _flags(trace))


@pytest.mark.parametrize("optimizer_first", [True, False])
def test_lazy_modules_get_their_shapes_with_their_first_call(tmp_path: Path, optimizer_first: bool) -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyLinear(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1) if optimizer_first else None
    with gradtrace.trace(out=tmp_path / "t.gradtrace", on_finding="raise") as trace:
        for _ in range(3):
            if optimizer is not None:
                optimizer.zero_grad()
            loss = model(torch.ones(2, 3)).sum()
            optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    shapes = {parameter.name: parameter.shape for parameter in trace.recording().parameters}
    assert shapes == {"0.weight": (4, 3), "0.bias": (4,), "1.weight": (1, 4), "1.bias": (1,)}
    assert len(trace.recording().backwards()) == 3


def test_a_program_that_never_moves_weights_by_hand_is_trusted_after_a_while() -> None:
    moves = Moves()
    weight = torch.ones(3)
    for _ in range(PROBATION):
        moves.wrote([0], [weight])
        assert not moves.since([weight])
    assert moves.is_over
    moves.wrote([0], [weight])
    weight += 1
    assert not moves.since([weight])


def test_a_program_that_moves_weights_by_hand_is_watched_on() -> None:
    moves = Moves()
    weight = torch.ones(3)
    for _ in range(2 * PROBATION):
        moves.wrote([0], [weight])
        weight.data += 1
        assert moves.since([weight]) == [0]
    assert not moves.is_over


def test_gradients_put_in_by_hand_are_seen_beside_parameters_of_no_optimizer(tmp_path: Path) -> None:
    """Per-sample clipping of a network whose first layer is left out of the optimizer."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.1)
    with gradtrace.trace(out=tmp_path / "t.gradtrace", on_finding="ignore") as trace:
        for _ in range(3):
            model(torch.ones(2, 3)).sum().backward()
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.grad = parameter.grad.clone()
            optimizer.step()
            model.zero_grad()
    assert all(StepFlag.BY_HAND in flags for flags in _flags(trace))
