"""Where values leave the graph by ways that are no plain call: new leaves, assignments, parts of a tensor."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import vector_to_parameters
from torch.utils.checkpoint import checkpoint

import gradtrace

HERE = Path(__file__)


class Hyper(nn.Module):
    """A main layer whose weights come from another, in a way that hands no gradient back."""

    def __init__(self, put: Callable[[nn.Linear, Tensor], Tensor | None]) -> None:
        super().__init__()
        self.hyper = nn.Linear(2, 4)
        self.main = nn.Linear(4, 1)
        self.put = put

    def forward(self, x: Tensor) -> Tensor:
        weight = self.put(self.main, self.hyper(torch.ones(2)).view(1, 4))
        return nn.functional.linear(x, self.main.weight if weight is None else weight, self.main.bias)


def _new_leaf(main: nn.Linear, weight: Tensor) -> Tensor:
    return main.weight + nn.Parameter(weight)  # here


def _assigned(main: nn.Linear, weight: Tensor) -> None:
    main.weight.data = weight  # here


def _assigned_to_frozen(main: nn.Linear, weight: Tensor) -> Tensor:
    main.weight.requires_grad_(False)
    main.weight.data = weight  # here
    return main.weight


def _copied(main: nn.Linear, weight: Tensor) -> None:
    with torch.no_grad():  # here
        main.weight.copy_(weight)


def _by_torch(main: nn.Linear, weight: Tensor) -> None:
    vector_to_parameters(weight.flatten(), [main.weight])  # here


def _written_to_data(main: nn.Linear, weight: Tensor) -> None:
    main.weight.data.copy_(weight)  # here


def _written_to_a_part_of_data(main: nn.Linear, weight: Tensor) -> Tensor:
    buffer = torch.zeros(1, 4)
    buffer.data[:, :2] = weight[:, :2]  # here
    return buffer + main.weight


def _added_to_detached(main: nn.Linear, weight: Tensor) -> Tensor:
    buffer = torch.zeros(1, 4)
    buffer.detach().view(-1).add_(weight.view(-1))  # here
    return buffer + main.weight


def _in_part(main: nn.Linear, weight: Tensor) -> Tensor:
    buffer = torch.zeros(1, 4)
    buffer[:, :2] = weight.data[:, :2]  # here
    return buffer + main.weight


def _collected(main: nn.Linear, weight: Tensor) -> Tensor:
    parts = [part.squeeze() for part in weight.split(1, dim=1)]
    return main.weight + torch.tensor(parts, requires_grad=True)  # here


def _by_second_switch(main: nn.Linear, weight: Tensor) -> Tensor:
    with torch.inference_mode(False), torch.set_grad_enabled(False):  # here
        changed = weight * 2
    return main.weight + changed


def _line_of(function: Callable[..., Any]) -> int:
    first = function.__code__.co_firstlineno
    lines = HERE.read_text().splitlines()
    return next(number for number in range(first, first + 9) if lines[number - 1].endswith("# here"))


def _trained(model: nn.Module, folder: Path) -> gradtrace.Trace:
    """The trace of four steps."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with gradtrace.trace(model, out=folder / "t.gradtrace", on_finding="ignore") as trace:
        for _ in range(4):
            optimizer.zero_grad()
            model(torch.randn(3, 4)).square().sum().backward()
            optimizer.step()
    return trace


@pytest.mark.parametrize(
    ("put", "call"),
    [
        (_new_leaf, "Parameter"),
        (_assigned, "data="),
        (_assigned_to_frozen, "data="),
        (_copied, "no_grad"),
        (_by_torch, "data"),
        (_in_part, "data"),
        pytest.param(_collected, "tensor", marks=pytest.mark.filterwarnings("ignore:Converting a tensor")),
        (_by_second_switch, "set_grad_enabled"),
        (_written_to_data, "data="),
        (_written_to_a_part_of_data, "data"),
        (_added_to_detached, "detach"),
    ],
)
def test_the_line_that_hands_no_gradient_back_is_named(
    tmp_path: Path, put: Callable[[nn.Linear, Tensor], Tensor | None], call: str
) -> None:
    torch.manual_seed(0)
    trace = _trained(Hyper(put), tmp_path)
    (finding,) = [each for each in trace.findings if "hyper.weight" in each.parameters]
    assert (finding.code, finding.where.op) == ("GT301", call)
    assert finding.where.source is not None
    assert finding.where.source.line == _line_of(put)
    assert [each.code for each in trace.findings if each.severity == "error"] == ["GT301"]


def test_a_pasted_value_that_keeps_its_graph_is_no_cut(tmp_path: Path) -> None:
    def put(main: nn.Linear, weight: Tensor) -> Tensor:
        buffer = torch.zeros(1, 4)
        assert not buffer.data.any()
        buffer[:, :2] = weight[:, :2]
        return buffer + main.weight

    trace = _trained(Hyper(put), tmp_path)
    assert not trace.recording().events("cut")


def test_a_stale_view_of_a_parameter_is_a_leaf():
    """`nn.init.orthogonal_` copies into a view under no_grad and scales the whole then; the view refuses to tell."""
    with gradtrace.trace() as trace:
        layer = nn.Linear(4, 4)
        nn.init.orthogonal_(layer.weight, gain=3.0)
        for _ in range(2):
            layer(torch.ones(2, 4)).sum().backward()
    assert not trace.recording().events("internal_error")
    assert trace.backwards == 2


class Frozen(nn.Module):
    """Moved to another type while it is traced; its first layer runs without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.hyper, self.main = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.to(torch.float64).to(torch.float32)
        with torch.no_grad():  # here
            x = self.hyper(x)
        return self.main(x)


def test_a_module_that_is_moved_keeps_its_own_values(tmp_path: Path) -> None:
    (finding,) = _trained(Frozen(), tmp_path).findings
    assert (finding.code, finding.where.op) == ("GT301", "no_grad")
    assert finding.where.source is not None
    assert finding.where.source.line == _line_of(Frozen.forward)


class Copied(nn.Module):
    """Computes with a copy of its first layer, made anew in every forward."""

    def __init__(self) -> None:
        super().__init__()
        self.hyper, self.main = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        fast = copy.deepcopy(self.hyper)  # here
        return self.main(fast(x))


def test_a_copy_of_a_layer_hands_no_gradient_back(tmp_path: Path) -> None:
    (finding,) = _trained(Copied(), tmp_path).findings
    assert (finding.code, finding.where.op) == ("GT301", "deepcopy")
    assert finding.where.source is not None
    assert finding.where.source.line == _line_of(Copied.forward)


class Adapted(nn.Module):
    """Takes an inner step, by `autograd.grad`, from copies of its first layer's weights that have no history."""

    def __init__(self) -> None:
        super().__init__()
        self.hyper, self.main = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        fast = [weight.detach().requires_grad_() for weight in self.hyper.parameters()]  # here
        for _ in range(2):
            inner = nn.functional.linear(x, *fast).square().mean()
            fast = [weight - 0.1 * g for weight, g in zip(fast, torch.autograd.grad(inner, fast), strict=True)]
        return self.main(nn.functional.linear(x, *fast))


def test_a_cut_before_an_inner_gradient_is_behind_the_loss_all_the_same(tmp_path: Path) -> None:
    (finding,) = _trained(Adapted(), tmp_path).findings
    assert (finding.code, finding.where.op) == ("GT301", "detach")
    assert finding.where.source is not None
    assert finding.where.source.line == _line_of(Adapted.forward)


def test_tensors_lent_to_a_module_for_one_call_are_not_its_parameters() -> None:
    model = nn.Linear(4, 1)
    with gradtrace.trace() as trace:
        weights = {name: weight.detach().clone().requires_grad_() for name, weight in model.named_parameters()}
        functional_call(model, weights, torch.ones(2, 4)).sum().backward()
        model(torch.ones(2, 4)).sum().backward()
    kinds = {(leaf.name, leaf.kind) for leaf in trace.recording().parameters}
    assert kinds == {
        ("weights['weight']", "input"),
        ("weights['bias']", "input"),
        ("weight", "parameter"),
        ("bias", "parameter"),
    }


class Checkpointed(nn.Module):
    """A reentrant checkpoint around the first layer, which is given data alone."""

    def __init__(self) -> None:
        super().__init__()
        self.hyper, self.main = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.main(checkpoint(self.hyper, x, use_reentrant=True))  # here


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")
def test_a_reentrant_checkpoint_of_data_is_named(tmp_path: Path) -> None:
    (finding,) = _trained(Checkpointed(), tmp_path).findings
    assert (finding.code, finding.where.op) == ("GT301", "checkpoint")
    assert "use_reentrant=False" in (finding.fix or "")
    assert finding.where.source is not None
    assert finding.where.source.line == _line_of(Checkpointed.forward)


class _Cutting(nn.Linear):
    def forward(self, x):
        return super().forward(x).detach()


@pytest.mark.parametrize("inner_steps", [4, 19])
def test_a_cut_before_inner_gradients_keeps_its_module_or_names_none(inner_steps):
    """Module calls of long ago are forgotten; what was noted of them must not come to mean another call. The outer
    backwards, the fifth and tenth or the twentieth, are looked at closely."""
    cutting, head = _Cutting(3, 3), nn.Linear(3, 1)
    with gradtrace.trace([cutting, head], replay=True, on_finding="ignore") as trace:
        for _ in range(2):
            hidden = cutting(torch.randn(4, 3))
            for _ in range(inner_steps):
                torch.autograd.grad(head(hidden).square().mean(), list(head.parameters()))
            head(hidden).mean().backward()
    modules = {event.payload["module"] for event in trace.recording().events("cut")}
    assert modules == ({"_Cutting"} if inner_steps == 4 else {None})
