"""Large finite results are let go soon, and the birth of a NaN is found all the same."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import gradtrace
from gradtrace.capture import forward_calls
from gradtrace.capture.forward_calls import HELD, PASS_ON, SUMMED, ForwardCalls

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


def _rectified_in_place(x: Tensor, first: Tensor) -> Tensor:
    result = x * 1.0
    result.relu_()
    return result


def _swapped_halves(x: Tensor, first: Tensor) -> Tensor:
    left, right = x.chunk(2, -1)
    return torch.cat([right, left], -1)


def _row_written(x: Tensor, first: Tensor) -> Tensor:
    result = x * 1.0
    result[0] = x[1]
    return result


HEALTHY: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda x, first: x.relu(),
    lambda x, first: functional.gelu(x),
    functional.linear,
    lambda x, first: x + first,
    lambda x, first: functional.layer_norm(x, (4,)),
    lambda x, first: x.softmax(-1),
    lambda x, first: x.clamp(-5, 5),
    lambda x, first: x.view(2, 2, 4).transpose(0, 1).reshape(4, 4),
    lambda x, first: torch.where(x > 0, x, first),
    lambda x, first: x + first.detach(),
    lambda x, first: functional.dropout(x, 0.3),
    lambda x, first: x[0] + x,
    _rectified_in_place,
    _swapped_halves,
    _row_written,
]
SPOILING: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda x, first: (x - 100).log(),
    lambda x, first: x / 0,
    lambda x, first: (x.abs() * 1e4 + 200).exp(),
    lambda x, first: (x.abs() + 1) * 1e38 * 1e38,
    lambda x, first: (x.relu() * 0).log(),
]


def _found(monkeypatch: pytest.MonkeyPatch, calls: list[Callable[..., Tensor]], summed: int, held: int) -> list[Any]:
    """What is said of a forward of `calls`, with results of `summed` bytes looked at and `held` of them waiting."""
    monkeypatch.setattr(forward_calls, "SUMMED", summed)
    monkeypatch.setattr(forward_calls, "HELD", held)
    torch.manual_seed(0)
    first = torch.randn(4, 4, requires_grad=True)
    with gradtrace.trace(replay=True, on_finding="ignore") as trace:
        x = first * 1.0
        for call in calls:
            x = call(x, first)
        x.square().mean().backward()
    return [(f.code, f.where.op, f.where.source and f.where.source.line) for f in trace.findings if f.code[2] == "2"]


@given(
    before=st.lists(st.sampled_from(HEALTHY), max_size=5),
    spoiling=st.sampled_from(SPOILING),
    after=st.lists(st.sampled_from(HEALTHY), max_size=5),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_birth_is_the_same_whatever_is_let_go(monkeypatch, before, spoiling, after):
    calls = [*before, spoiling, *after]
    everything_kept = _found(monkeypatch, calls, 1 << 60, 8)
    for held in (0, 3, 8):
        assert _found(monkeypatch, calls, 1, held) == everything_kept


def _chain(rows: int, width: int = 4) -> tuple[list[Tensor], ForwardCalls]:
    weight = torch.ones(width, width, requires_grad=True)
    calls, results = ForwardCalls(), [torch.randn(rows, width) @ weight]
    for _ in range(3):
        results.append(results[-1] * 2)
        calls.add_plain("mul", 1, -1, (results[-2], 2), None, results[-1])
    return results, calls


def _hide(calls: ForwardCalls, *values: Tensor) -> None:
    """What a ReLU hides is looked at before."""
    calls.before("relu", values, None)


def test_one_sum_speaks_for_all_that_would_have_shown_in_it(monkeypatch):
    results, calls = _chain(ROWS["large"])
    assert len(calls.all()) == 3
    summed = _sums(monkeypatch)
    _hide(calls, results[-1])
    assert [each is results[-1] for each in summed] == [True]
    assert calls.all() == []
    last = weakref.ref(results.pop())
    summed.clear()
    gc.collect()
    assert last() is None


def test_it_does_not_speak_for_what_was_hidden():
    """Behind a clamp everything is finite."""
    results, calls = _chain(ROWS["large"])
    bad = results[-1] / 0
    calls.add_plain("mul", 1, -1, (results[-1], torch.inf), None, bad)
    bounded = bad.clamp(-1, 1)
    calls.before("clamp", (bad, -1, 1), None)
    calls.add_plain("clamp", 1, -1, (bad, -1, 1), None, bounded)
    _hide(calls, bounded)
    assert calls.all()[-2].outputs[0] is bad


def test_small_results_are_kept():
    results, calls = _chain(ROWS["small"])
    _hide(calls, *results)
    assert [call.outputs[0] is result for call, result in zip(calls.all(), results[1:], strict=True)] == [True] * 3


def test_few_large_results_wait():
    weight = torch.ones(4, 4, requires_grad=True)
    calls = ForwardCalls()
    for _ in range(3 * HELD):
        calls.add_plain("mul", 1, -1, (weight, 2), None, (weight * 2).expand(ROWS["large"], 4, 4).clone())
        assert len(calls.all()) <= HELD


def test_a_call_on_data_is_kept_and_its_result_trusted():
    results, calls = _chain(ROWS["large"])
    data = torch.ones_like(results[-1])
    first = results[-1] + data
    calls.add_plain("add", 1, -1, (results[-1], data), None, first)
    last = first * 2
    calls.add_plain("mul", 1, -1, (first, 2), None, last)
    _hide(calls, last)
    assert [call.name for call in calls.all()] == ["add"]


def test_what_follows_an_infinity_is_kept():
    results, calls = _chain(ROWS["large"])
    bad = results[-1] / 0
    masked = torch.where(bad > 0, bad.clamp(max=1), 0)
    calls.before("div", (results[-1], 0), None)
    calls.add_plain("div", 1, -1, (results[-1], 0), None, bad)
    calls.before("clamp", (bad, 1), None)
    calls.add_plain("clamp", 1, -1, (bad, 1), None, masked)
    last = masked * 2
    calls.add_plain("mul", 1, -1, (masked, 2), None, last)
    _hide(calls, last)
    assert [call.name for call in calls.all()] == ["div", "clamp"]


def test_what_is_changed_in_place_is_looked_at_before(monkeypatch):
    results, calls = _chain(ROWS["large"])
    summed = _sums(monkeypatch)
    calls.before("clamp_", (results[-1], 0), None)
    assert [each is results[-1] for each in summed] == [True]


def test_a_call_that_returns_what_it_took_is_no_call():
    results, calls = _chain(ROWS["small"])
    calls.add_plain("dropout", 1, -1, (results[-1],), None, results[-1])
    assert len(calls.all()) == 3


def test_part_of_what_is_finite_is_let_go():
    results, calls = _chain(ROWS["large"])
    calls.before("chunk", (results[-1], 2), None)
    calls.add("chunk", 1, -1, (results[-1],), results[-1].chunk(2))
    assert calls.all() == []


def _sums(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The tensors that are summed up from now on."""
    summed: list[Tensor] = []
    monkeypatch.setattr(forward_calls, "_sums_up", lambda tensor: summed.append(tensor) is None)
    return summed


def _kept_for_relu(given: Tensor, calls: ForwardCalls) -> int:
    result = given.relu()
    calls.before("relu", (given,), None)
    calls.add_plain("relu", 1, -1, (given,), None, result)
    return len(calls.all())


def test_a_result_that_can_only_be_finite_is_not_summed(monkeypatch):
    results, calls = _chain(ROWS["large"])
    _hide(calls, results[-1])
    summed = _sums(monkeypatch)
    assert _kept_for_relu(results[-1], calls) == 0
    assert summed == []


def test_of_weights_and_in_half_precision_it_is():
    """A weight may hold a NaN; the range of half precision is narrow."""
    results, calls = _chain(ROWS["large"])
    _hide(calls, results[-1])
    assert _kept_for_relu(torch.ones(ROWS["large"], 8, requires_grad=True), calls) == 1
    assert _kept_for_relu(results[-1].half().repeat(2, 1), calls) == 2


WIDE = (8, 6)

SHOWING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "addmm": lambda x, y: torch.addmm(x[:, 0], x, y.T),
    "baddbmm": lambda x, y: torch.baddbmm(x[None, :, :1], x[None], y.T[None]),
    "batch_norm": lambda x, y: functional.batch_norm(x, None, None, y[0], y[1], training=True) + y.sum(),
    "bmm": lambda x, y: torch.bmm(x[None], y.T[None]),
    "cat": lambda x, y: torch.cat([x, y]),
    "clone": lambda x, y: x.clone() + y,
    "contiguous": lambda x, y: x.T.contiguous() + y.T,
    "dropout": lambda x, y: functional.dropout(x, 0.5) + y,
    "expand": lambda x, y: x[None].expand(3, 8, 6) + y,
    "flatten": lambda x, y: x.flatten() + y.flatten(),
    "gelu": lambda x, y: functional.gelu(x) + functional.gelu(y, approximate="tanh"),
    "group_norm": lambda x, y: functional.group_norm(x, 2) + y,
    "instance_norm": lambda x, y: functional.instance_norm(x[None]) + y,
    "layer_norm": lambda x, y: functional.layer_norm(x, (6,)) + y,
    "linear": functional.linear,
    "matmul": lambda x, y: x.T.matmul(y),
    "mm": lambda x, y: x.mm(y.T),
    "mul": torch.mul,
    "neg": lambda x, y: -x - y,
    "permute": lambda x, y: x.permute(1, 0) + y.T,
    "reshape": lambda x, y: x.T.reshape(-1) + y.T.reshape(-1),
    "rms_norm": lambda x, y: functional.rms_norm(x, (6,)) + y,
    "silu": lambda x, y: functional.silu(x) + y,
    "square": lambda x, y: x.square() + y.square(),
    "squeeze": lambda x, y: x[None].squeeze(0) + y,
    "stack": lambda x, y: torch.stack([x, y]),
    "sub": torch.sub,
    "swapaxes": lambda x, y: x.swapaxes(0, 1) + y.T,
    "t": lambda x, y: x.t() + y.t(),
    "transpose": lambda x, y: x.transpose(0, 1) + y.T,
    "unflatten": lambda x, y: x.unflatten(1, (2, 3)) + y.unflatten(1, (2, 3)),
    "unsqueeze": lambda x, y: x.unsqueeze(0) + y,
    "view": lambda x, y: x.view(-1) + y.view(-1),
    "__rsub__": lambda x, y: 1 - x - y,
}


def test_there_is_a_call_for_each_that_passes_on():
    assert set(SHOWING) == set(PASS_ON)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(PASS_ON))
def test_what_passes_on_shows_one_bad_element_anywhere(name, dtype):
    torch.manual_seed(0)
    places = itertools.product([torch.nan, torch.inf, -torch.inf], range(2), range(0, WIDE[0] * WIDE[1], 5))
    for value, spoiled, place in places:
        pair = [torch.randn(WIDE, dtype=dtype), torch.randn(WIDE, dtype=dtype)]
        assert SHOWING[name](*pair).isfinite().all()
        pair[spoiled].view(-1)[place] = value
        assert not SHOWING[name](*pair).isfinite().all(), (value, spoiled, place)


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
        _hide(calls, results[-1])
    assert kernels.seen == []
    assert len(calls.all()) == 3
