"""What goes wrong: programs that raise, and gradients that are no numbers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.base import Program, awkward, batch, mlp, plain, plain_step


@awkward()
def error_inside_forward() -> Program:
    """The program catches it and goes on."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    train = plain_step(model, optimizer)

    def step(number: int) -> list[Any]:
        try:
            model(torch.randn(3, 5))
        except RuntimeError as error:
            text = str(error)
        return [train(number), text]

    return Program(step, [model], [optimizer])


@awkward(raises="the program's own hook")
def error_inside_hook() -> Program:
    model = mlp()

    def refuse(gradient: Tensor) -> None:
        raise RuntimeError("the program's own hook gives up")

    model[0].weight.register_hook(refuse)
    return plain(model)


@awkward(raises="Trying to backward through the graph a second time")
def backward_twice() -> Program:
    model = mlp()

    def step(number: int) -> None:
        x, y = batch()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        loss.backward()

    return Program(step, [model])


@awkward()
def backward_twice_caught() -> Program:
    model = mlp()

    def step(number: int) -> list[Any]:
        x, y = batch()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        try:
            loss.backward()
        except RuntimeError as error:
            return [loss, str(error)]
        return [loss]

    return Program(step, [model])


@awkward(raises="one of the variables needed for gradient computation has been modified")
def inplace_overwrite() -> Program:
    model = mlp()

    def step(number: int) -> None:
        x, y = batch()
        hidden = torch.exp(model[0](x))
        loss = functional.mse_loss(model[4](model[2](hidden)), y)
        hidden.mul_(2)
        loss.backward()

    return Program(step, [model])


@awkward(raises="element 0 of tensors does not require grad")
def detached_loss() -> Program:
    model = mlp()

    def step(number: int) -> None:
        x, y = batch()
        functional.mse_loss(model(x).detach(), y).backward()

    return Program(step, [model])


@awkward(raises="grad can be implicitly created")
def loss_that_is_no_scalar() -> Program:
    model = mlp()
    return Program(lambda number: model(batch()[0]).backward(), [model])


@awkward()
def no_gradient_at_all() -> Program:
    """`step` on parameters whose `.grad` is None."""
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)

    def step(number: int) -> Tensor:
        optimizer.step()
        return model(batch()[0])

    return Program(step, [model], [optimizer])


@awkward()
def nan_from_sqrt_at_zero() -> Program:
    """The third step's loss is finite and its gradient is not."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        error = model(x) - y
        loss = error.square().mean()
        if number == 2:
            loss = loss + torch.sqrt((error * 0).square()).sum()
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer], steps=5)


@awkward()
def nan_in_forward() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        if number == 2:
            loss = loss + torch.log(model(x) - 100).mean()
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer], steps=5)


@awkward()
def nan_in_wide_forward() -> Program:
    """Results of half a megabyte, of which none is worth keeping that is finite."""
    model = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def step(number: int) -> Tensor:
        x = torch.randn(2048, 4)
        optimizer.zero_grad()
        hidden = model[:2](x)
        if number == 3:
            hidden = hidden.sqrt() * hidden
        loss = functional.mse_loss(model[2:](hidden), x[:, :1])
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer], steps=5)


@awkward()
def nan_in_batch() -> Program:
    model = mlp()

    def make() -> tuple[Tensor, Tensor]:
        x, y = batch()
        x[0, 0] = math.nan
        return x, y

    return plain(model, make)
