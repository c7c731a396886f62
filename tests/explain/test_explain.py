"""The chain rule in words and numbers, on live graphs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gradtrace
from gradtrace import GradtraceError


@pytest.fixture
def line():
    """The tutorial's model with weights that can be multiplied in the head: w = 0.5, b = 1, two points."""
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(0.5)
        model.bias.fill_(1.0)
    x = torch.tensor([[1.0], [3.0]])
    return model, x, 2 * x + 1


def test_every_number_of_a_line_by_hand(line):
    model, x, y = line
    explanation = gradtrace.explain(F.mse_loss(model(x), y), model)
    # predictions 1.5 and 2.5, targets 3 and 7: errors -1.5 and -4.5, loss (2.25 + 20.25) / 2
    loss, product, turn = explanation.steps
    assert explanation.loss == pytest.approx(11.25)
    assert loss.gradient.numbers == 1.0
    assert loss.departures[0].values.numbers == [[-1.5], [-4.5]]  # 2 / N * error
    to_bias, to_weight = product.departures
    assert to_bias.values.numbers == [[-1.5], [-4.5]]
    assert to_bias.summed.numbers == [-6.0]
    assert to_bias.slope.kind == "same"
    assert to_weight.slope.values.numbers == [[1.0], [3.0]]  # d output / d weight = x
    assert to_weight.values.numbers == [[-15.0]]  # 1 * -1.5 + 3 * -4.5
    assert turn.departures[0].values.numbers == [[-15.0]]
    assert {leaf.name: leaf.gradient.numbers for leaf in explanation.leaves} == {"bias": [-6.0], "weight": [[-15.0]]}
    for leaf in explanation.leaves:
        assert leaf.check.complete
        assert leaf.check.relative_error < 1e-6
    assert explanation.cost.gradients == 2
    assert explanation.cost.forwards == explanation.cost.forwards_run == 4
    assert explanation.cost.backward_seconds > 0
    assert explanation.cost.forward_seconds > 0


def test_nothing_is_changed(line):
    model, x, y = line
    model = nn.Sequential(model, nn.BatchNorm1d(1), nn.Dropout(0.5))
    seen = []
    model[0].weight.register_hook(seen.append)
    loss = F.mse_loss(model(x), y)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    gradtrace.explain(loss, model)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert seen == []
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    loss.backward()  # the graph is still there
    assert len(seen) == 1


def test_forward_runs_leave_the_program_as_it_was(line):
    model, x, y = line
    model = nn.Sequential(model, nn.BatchNorm1d(1))
    loss = F.mse_loss(model(x), y)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()

    def forward():
        torch.rand(3)  # as a data augmentation would
        return F.mse_loss(model(x), y)

    explanation = gradtrace.explain(loss, model, forward=forward)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    bias = next(leaf for leaf in explanation.leaves if leaf.name == "1.bias")
    assert bias.check.relative_error < 1e-3  # float32 throughout


def test_paths_that_meet_are_added():
    w = torch.tensor(2.0, requires_grad=True)
    explanation = gradtrace.explain(w * w + 3 * w)
    (leaf,) = explanation.leaves
    assert sorted(arrival.values.numbers for arrival in leaf.arrivals) == [2.0, 2.0, 3.0]
    assert leaf.gradient.numbers == 7.0
    assert "the paths add" in str(explanation)


@pytest.mark.parametrize(
    "compute",
    [
        lambda w: w.exp().log().mul(w).mean(),
        lambda w: ((w * 2 - 1) ** 2).mean(),
        lambda w: F.cross_entropy(w.view(2, 3), torch.tensor([0, 2])),
        lambda w: F.binary_cross_entropy_with_logits(w, torch.ones(6)),
        lambda w: torch.stack([w, w * w]).max(),
        lambda w: F.layer_norm(w.view(2, 3), (3,)).pow(3).sum(),
        lambda w: torch.cat([w, w * w])[2:9].prod(),
        lambda w: (w.view(2, 3) @ w.view(3, 2)).tanh().sum(),
        lambda w: F.conv1d(w.view(1, 1, 6), w[:3].view(1, 1, 3)).pow(2).sum(),
    ],
)
def test_finite_differences_without_the_forward(compute):
    torch.manual_seed(1)
    w = (torch.rand(6) + 0.2).requires_grad_()
    explanation = gradtrace.explain(compute(w))
    assert explanation.notes == ()
    assert explanation.leaves[0].check.relative_error < 1e-4


def test_a_wrong_backward_shows_in_the_relative_error():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            return gradient * 3

    w = torch.tensor([1.0, 2.0], requires_grad=True)

    def forward():
        return Doubled.apply(w).sum()

    explanation = gradtrace.explain(forward(), forward=forward)
    assert explanation.leaves[0].check.relative_error == pytest.approx(1 / 3, rel=1e-3)


def test_what_cannot_be_run_again_is_said():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    explanation = gradtrace.explain((w.square().sum() + 1).sqrt())
    assert explanation.leaves[0].check is None
    assert "AddBackward0 did not keep the constant" in explanation.notes[0]
    assert "forward=" in explanation.notes[0]
    assert "Finite differences would take two forward passes" in str(explanation)


def test_large_leaves_are_checked_along_their_gradient():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    explanation = gradtrace.explain(model(torch.randn(4, 8)).pow(2).mean(), model)
    checks = {leaf.name: leaf.check for leaf in explanation.leaves}
    assert not checks["0.weight"].complete
    assert checks["0.bias"].complete
    assert all(check.relative_error < 1e-4 for check in checks.values())
    assert explanation.cost.gradients == 81
    assert explanation.cost.forwards == 162
    assert "were run for the checks" in str(explanation)


def test_a_path_of_a_large_graph():
    model = nn.Sequential(*(layer for _ in range(20) for layer in (nn.Linear(2, 2), nn.Tanh())))
    loss = model(torch.ones(1, 2)).sum()
    whole = gradtrace.explain(loss, model)
    assert "shown is one path" in whole.notes[0]
    asked = gradtrace.explain(loss, model, path="loss:38.weight")
    assert [step.name for step in asked.steps] == ["sum", "tanh", "addmm", "t"]
    assert [leaf.name for leaf in asked.leaves] == ["38.weight"]
    assert gradtrace.explain(loss, model, path="38.weight:loss").steps == asked.steps
    assert asked.leaves[0].check.relative_error < 1e-4
    with pytest.raises(GradtraceError, match="no node"):
        gradtrace.explain(loss, model, path="loss:nowhere")


def test_sparse_gradients():
    table = nn.Embedding(5, 2, sparse=True)
    explanation = gradtrace.explain(table(torch.tensor([1, 1, 3])).sum(), table)
    assert explanation.leaves[0].gradient.numbers == [[0, 0], [2, 2], [0, 0], [1, 1], [0, 0]]
    assert explanation.leaves[0].check.relative_error < 1e-6


def test_half_precision_is_compared_as_coarsely_as_it_computes():
    torch.manual_seed(0)
    weight = torch.randn(3, 3, dtype=torch.bfloat16, requires_grad=True)
    (leaf,) = gradtrace.explain((weight @ weight).float().pow(2).sum()).leaves
    assert leaf.check.complete
    assert 1e-5 < leaf.check.relative_error < 3e-2


def test_complex_leaves_are_walked_and_not_checked():
    weight = torch.tensor([1 + 2j, 3j], requires_grad=True)
    explanation = gradtrace.explain((weight * weight.conj()).real.sum())
    assert explanation.leaves[0].check is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: 3.0, "as a tensor; got float"),
        (lambda: torch.ones(2, requires_grad=True) * 2, "one real number"),
        (lambda: torch.ones(()), "has a graph"),
    ],
)
def test_what_is_no_loss_is_refused(make, message):
    with pytest.raises(GradtraceError, match=message):
        gradtrace.explain(make())


def test_a_freed_graph_is_refused(line):
    model, x, y = line
    loss = F.mse_loss(model(x), y)
    loss.backward()
    with pytest.raises(GradtraceError, match=r"freed by backward\(\)"):
        gradtrace.explain(loss, model)


def test_another_loss_is_refused(line):
    model, x, y = line
    with pytest.raises(GradtraceError, match="must compute the same loss"):
        gradtrace.explain(F.mse_loss(model(x), y), model, forward=lambda: F.l1_loss(model(x), y))
