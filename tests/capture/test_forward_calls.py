"""Large finite results are let go at once, and the birth of a NaN is found all the same."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import gradtrace
from gradtrace.capture import forward_calls
from gradtrace.capture.forward_calls import SUMMED, ForwardCalls

ROWS = {"small": 4, "large": SUMMED // 16}


def _sqrt_in_the_middle(hidden: Tensor, x: Tensor) -> Tensor:
    return (hidden - 10).sqrt().tanh() + hidden


def _half_precision(hidden: Tensor, x: Tensor) -> Tensor:
    big = (hidden.half() + 60_000) * 2
    return (big - big.detach()).float()


def _log_of_zero_times_zero(hidden: Tensor, x: Tensor) -> Tensor:
    return (hidden.relu() * 0).log() * hidden.relu()


def _division_written_in_place(hidden: Tensor, x: Tensor) -> Tensor:
    result = hidden.exp() * 1.0
    result[0] = hidden[0] / (hidden[0] - hidden[0])
    return result.sigmoid() * hidden


def _hidden_by_where(hidden: Tensor, x: Tensor) -> Tensor:
    distance = (hidden - hidden.detach()) / (hidden - hidden)
    return torch.where(x[:, :1] > 1e9, distance, hidden)


def _from_the_batch(hidden: Tensor, x: Tensor) -> Tensor:
    return torch.where(hidden > 1e9, hidden * (x[:, :1] / 0), hidden)


def _a_small_value_spoils_it(hidden: Tensor, x: Tensor) -> Tensor:
    scale = (hidden.mean() - hidden.mean()).sqrt().log() * 0
    return hidden * scale.exp()


def _shifted_mask(hidden: Tensor, x: Tensor) -> Tensor:
    mask = torch.zeros_like(hidden.detach()).masked_fill(hidden.detach() > -1e9, -torch.inf)
    return (hidden + mask).softmax(-1)


FORWARDS = (
    _sqrt_in_the_middle, _half_precision, _log_of_zero_times_zero, _division_written_in_place, _hidden_by_where,
    _from_the_batch, _a_small_value_spoils_it, _shifted_mask,
)  # fmt: skip


def _diagnosis(forward: Callable[[Tensor, Tensor], Tensor], rows: int) -> list[tuple[str, str | None, int | None]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with gradtrace.trace(model, replay=True, on_finding="ignore") as trace:
        for number in range(4):
            optimizer.zero_grad()
            x = torch.randn(rows, 4)
            hidden = model(x)
            (forward(hidden, x) if number == 3 else hidden).square().mean().backward()
            optimizer.step()
    return [(f.code, f.where.op, f.where.source and f.where.source.line) for f in trace.findings if f.code[2] == "2"]


@pytest.mark.parametrize("forward", FORWARDS, ids=lambda forward: forward.__name__.strip("_"))
def test_wide_forwards_are_diagnosed_as_narrow_ones(forward):
    narrow = _diagnosis(forward, ROWS["small"])
    assert narrow
    assert _diagnosis(forward, ROWS["large"]) == narrow


def _chain(rows: int, width: int = 4) -> tuple[list[Tensor], ForwardCalls]:
    weight = torch.ones(width, width, requires_grad=True)
    calls, results = ForwardCalls(), [torch.randn(rows, width) @ weight]
    for _ in range(3):
        results.append(results[-1] * 2)
        calls.add_plain("mul", 1, -1, (results[-2], 2), None, results[-1])
    return results, calls


def test_large_finite_results_are_let_go():
    results, calls = _chain(ROWS["large"])
    assert calls.all() == []
    last = weakref.ref(results.pop())
    gc.collect()
    assert last() is None


def test_small_results_are_kept():
    results, calls = _chain(ROWS["small"])
    assert [call.outputs[0] is result for call, result in zip(calls.all(), results[1:], strict=True)] == [True] * 3


def test_a_call_on_data_is_kept_and_its_result_trusted():
    results, calls = _chain(ROWS["large"])
    data = torch.ones_like(results[-1])
    first = results[-1] + data
    calls.add_plain("add", 1, -1, (results[-1], data), None, first)
    calls.add_plain("mul", 1, -1, (first, 2), None, first * 2)
    assert [call.name for call in calls.all()] == ["add"]


def test_what_follows_an_infinity_is_kept():
    results, calls = _chain(ROWS["large"])
    bad = results[-1] / 0
    masked = torch.where(bad > 0, bad.clamp(max=1), 0)
    calls.add_plain("div", 1, -1, (results[-1], 0), None, bad)
    calls.add_plain("clamp", 1, -1, (bad, 1), None, masked)
    calls.add_plain("mul", 1, -1, (masked, 2), None, masked * 2)
    assert [call.name for call in calls.all()] == ["div", "clamp"]


def _sums_of_relu(monkeypatch: pytest.MonkeyPatch, given: Tensor, calls: ForwardCalls) -> int:
    sums: list[Tensor] = []
    monkeypatch.setattr(forward_calls, "_sums_up", lambda tensor: sums.append(tensor) is None)
    calls.add_plain("relu", 1, -1, (given,), None, given.relu())
    return len(sums)


def test_a_result_that_can_only_be_finite_is_not_summed(monkeypatch):
    results, calls = _chain(ROWS["large"])
    assert _sums_of_relu(monkeypatch, results[-1], calls) == 0
    assert calls.all() == []


def test_of_weights_and_in_half_precision_it_is(monkeypatch):
    """A weight may hold a NaN; the range of half precision is narrow."""
    results, calls = _chain(ROWS["large"])
    assert _sums_of_relu(monkeypatch, torch.ones(ROWS["large"], 8, requires_grad=True), calls) == 1
    assert _sums_of_relu(monkeypatch, results[-1].half().repeat(2, 1), calls) == 1


class _Kernels(TorchDispatchMode):
    """Lists the kernels that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_mode_of_the_program_sees_no_sum():
    results, calls = _chain(ROWS["large"])
    with _Kernels() as kernels:
        calls.add_plain("mul", 1, -1, (results[-2], 2), None, results[-1])
    assert kernels.seen == []
    assert len(calls.all()) == 1
