"""The three assertions: silent where all is well, and precise where it is not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradtrace.testing import assert_gradient_correct, assert_gradients_flow, assert_gradients_match


class Net(nn.Module):
    def __init__(self, between=lambda x: x):
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 1)
        self.between = between

    def forward(self, x):
        return self.second(self.between(self.first(x)))


def loss_of(model):
    torch.manual_seed(0)
    return model(torch.randn(5, 3)).pow(2).mean()


def test_flow_is_silent_where_gradients_flow():
    model = Net(torch.tanh)
    loss = loss_of(model)
    assert_gradients_flow(model, loss)
    assert all(parameter.grad is None for parameter in model.parameters())
    loss.backward()


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        (torch.Tensor.detach, "no gradient: first.weight and first.bias: not in the graph behind the loss"),
        (torch.sign, "zero gradient: first.weight and first.bias: lost in SignBackward0"),
        (lambda x: torch.sqrt(x * 0) + 1, "not finite: first.weight and first.bias: born in "),
    ],
)
def test_flow_names_what_lost_it(between, expected):
    model = Net(between)
    with pytest.raises(AssertionError) as caught:
        assert_gradients_flow(model, loss_of(model))
    assert expected in str(caught.value)
    assert "second.weight" not in str(caught.value).replace("of Net", "")


def test_flow_leaves_out_what_is_frozen_or_ignored():
    model = Net(torch.Tensor.detach)
    assert_gradients_flow(model, loss_of(model), ignore=["first."])
    model.first.requires_grad_(False)
    assert_gradients_flow(model, loss_of(model))


def test_flow_of_a_loss_without_graph():
    model = Net()
    with pytest.raises(AssertionError, match="the loss has no graph: no gradient can flow to 4 parameters of Net"):
        assert_gradients_flow(model, loss_of(model).detach())


def twins():
    torch.manual_seed(0)
    one, other = Net(), Net()
    other.load_state_dict(one.state_dict())
    for model in (one, other):
        loss_of(model).backward()
    return one, other


def test_match_is_silent_on_equal_gradients():
    one, other = twins()
    assert_gradients_match(one, other, rtol=0, atol=0)
    assert_gradients_match(one, {name: parameter.grad for name, parameter in other.named_parameters()})


def test_match_names_the_first_that_parts():
    one, other = twins()
    one.first.bias.grad += 0.1
    one.first.weight.grad *= 2
    with pytest.raises(AssertionError) as caught:
        assert_gradients_match(one, other)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("gradients part at first.bias: norm ")
    assert lines[1].strip() == "equal on the way back from the loss down to second.weight"
    assert lines[2].strip() == "different beyond it: first.weight"


def test_match_tells_none_shape_and_names():
    one, other = twins()
    one.second.bias.grad = None
    with pytest.raises(AssertionError, match=r"second\.bias: it got no gradient"):
        assert_gradients_match(one, other)
    with pytest.raises(AssertionError, match=r"different parameters: bias, first\.bias, first\.weight"):
        assert_gradients_match(one.first, other)
    with pytest.raises(AssertionError, match=r"shape \(4,\) against \(1,\)"):
        assert_gradients_match(one.first, {"weight": other.first.weight.grad, "bias": torch.zeros(1)})


class Cube(torch.autograd.Function):
    factor = 3.0

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * Cube.factor * x**2


def test_correct_is_silent_on_right_gradients():
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    state = torch.get_rng_state()
    assert_gradient_correct(Cube.apply, x)
    assert_gradient_correct(lambda a, b: torch.sin(a) @ b.T, [x, torch.ones(2, 3, dtype=torch.float64)])
    assert torch.equal(torch.get_rng_state(), state)
    assert x.grad is None


def test_correct_names_input_element_and_function(monkeypatch):
    monkeypatch.setattr(Cube, "factor", 2.0)
    x = torch.tensor([[1.0, 2.0], [3.0, 0.5]], dtype=torch.float64, requires_grad=True)
    with pytest.raises(AssertionError) as caught:
        assert_gradient_correct(lambda x: Cube.apply(x).sum(), x)
    message = str(caught.value)
    assert "input 0 is wrong at element (1, 0): backward gives 18, finite differences give 27" in message
    assert "CubeBackward" in message


def test_correct_catches_a_missing_gradient():
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    y = torch.ones(2, dtype=torch.float64, requires_grad=True)
    with pytest.raises(AssertionError, match=r"input 0 is wrong .* backward gives 0, finite differences give 1"):
        assert_gradient_correct(lambda x, y: (x.detach() * y).sum(), [x, y])


@pytest.mark.parametrize("value", [torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.float64)])
def test_correct_refuses_what_it_cannot_judge(value):
    with pytest.raises(ValueError, match="float64"):
        assert_gradient_correct(torch.sum, value)


def test_inputs_of_any_layout_are_judged():
    transposed = torch.rand(3, 4, dtype=torch.float64).T.requires_grad_()
    none = torch.zeros(0, dtype=torch.float64, requires_grad=True)
    assert_gradient_correct(lambda x, y: (x**3).sum() + y.sum(), [transposed, none])
    with pytest.raises(ValueError, match="with requires_grad and elements"):
        assert_gradient_correct(torch.sum, none)


def test_sparse_gradients_are_compared_with_sparse_and_dense_ones():
    models = [nn.Embedding(5, 3, sparse=sparse) for sparse in (True, True, False)]
    for model in models:
        model.load_state_dict(models[0].state_dict())
        model(torch.tensor([1, 1, 2])).pow(2).sum().backward()
    assert_gradients_match(models[0], models[1])
    assert_gradients_match(models[0], models[2])
    models[2].weight.grad *= 2
    with pytest.raises(AssertionError, match="gradients part at weight: norm"):
        assert_gradients_match(models[2], models[0])


def test_imaginary_parts_of_gradients_count():
    gradient = torch.tensor([1 + 2j, 3 - 1j])
    model = nn.ParameterDict({"w": nn.Parameter(torch.zeros(2, dtype=torch.complex64))})
    model["w"].grad = gradient.clone()
    assert_gradients_match(model, {"w": gradient})
    with pytest.raises(AssertionError, match="gradients part at w"):
        assert_gradients_match(model, {"w": gradient.conj()})
