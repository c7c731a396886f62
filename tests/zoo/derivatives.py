"""Gradients taken in unusual ways."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional

from zoo.base import Program, awkward, batch, mlp


@awkward()
def double_backward() -> Program:
    """A gradient penalty through `create_graph`."""
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)

    def step(number: int) -> Tensor:
        x, y = batch()
        x.requires_grad_()
        optimizer.zero_grad()
        output = model(x)
        (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        loss = functional.mse_loss(output, y) + slope.square().sum(1).sub(1).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward()
def create_graph_backward() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of the reference cycle that this makes
            functional.mse_loss(model(x), y).backward(create_graph=True)
        penalty = sum(parameter.grad.square().sum() for parameter in model.parameters())
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
        return penalty

    return Program(step, [model], [optimizer])


@awkward()
def autograd_grad_by_hand() -> Program:
    model = mlp()
    parameters = list(model.parameters())

    def step(number: int) -> Tensor:
        x, y = batch()
        loss = functional.mse_loss(model(x), y)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(0.05 * gradient)
        return loss

    return Program(step, [model])


@awkward()
def several_roots() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> list[Tensor]:
        x, y = batch()
        optimizer.zero_grad()
        output = model(x)
        losses = [functional.mse_loss(output, y), output.abs().mean(), output[0]]
        torch.autograd.backward(losses, [None, torch.tensor(0.5), torch.ones(1)])
        optimizer.step()
        return losses

    return Program(step, [model], [optimizer])


@awkward(since=(2, 7))
def gradient_edges_as_roots() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        torch.autograd.backward(get_gradient_edge(loss), torch.tensor(1.0))
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward()
def backward_with_inputs() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward(inputs=list(model[0].parameters()))
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward()
def retained_graph() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.02)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward(retain_graph=True)
        loss.backward(retain_graph=True)
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward()
def functional_transforms() -> Program:
    """`torch.func`: gradients of a function of the parameters, one per sample."""
    model = mlp()
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def loss_of(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return functional.mse_loss(torch.func.functional_call(model, values, (x,)), y)

    def step(number: int) -> Tensor:
        x, y = batch()
        per_sample = torch.func.vmap(torch.func.grad(loss_of), in_dims=(None, 0, 0))(parameters, x, y)
        with torch.no_grad():
            for name, value in parameters.items():
                value.sub_(0.05 * per_sample[name].mean(0))
        return loss_of(parameters, x, y)

    return Program(step, [model], leaves=list(parameters.values()))


@awkward()
def functional_call_backward() -> Program:
    model = mlp()
    values = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD(values.values(), 0.05)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(torch.func.functional_call(model, values, (x,)), y)
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer], list(values.values()))


@awkward()
def jacobian_of_functional() -> Program:
    model = mlp()

    def step(number: int) -> Tensor:
        x, _ = batch()
        return torch.autograd.functional.jacobian(model, x)

    return Program(step, [model], steps=2)
