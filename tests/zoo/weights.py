"""Weights and gradients that the program changes by itself, and models that change."""

from __future__ import annotations

import copy
import io
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.base import Program, awkward, batch, mlp, plain_step


@awkward()
def gradients_kept_as_zeros() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad(set_to_none=False)
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward()
def gradients_set_by_hand() -> Program:
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        model.weight.grad = model.weight.grad.sign()
        model.bias.grad = None
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward()
def weights_moved_by_hand() -> Program:
    """Gradient descent without an optimizer, which clears the gradients at every other step."""
    model = mlp()

    def step(number: int) -> Tensor:
        x, y = batch()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(0.01 * parameter.grad)
        if number % 2:
            model.zero_grad()
        return loss

    return Program(step, [model], [])


@awkward()
def leaves_of_computed_values() -> Program:
    """What `nn.Parameter` and an assignment take over has no history, though it was computed."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        output = model(x)
        shift = nn.Parameter(output.mean(0).detach())
        gate = nn.Parameter(output.std(0))
        gate.data = output.mean(0) + 1
        with torch.no_grad():
            shift.copy_(0.5 * output.mean(0))
        loss = functional.mse_loss(output * gate + shift, y)
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward()
def empty_parameter_group() -> Program:
    model = mlp()
    groups = [
        {"params": model[0].parameters()},
        {"params": [], "lr": 1.0},
        {"params": model[2:].parameters(), "lr": 0.1},
    ]
    optimizer = torch.optim.SGD(groups, 0.05)
    return Program(plain_step(model, optimizer), [model], [optimizer])


@awkward()
def modules_come_and_go() -> Program:
    model = nn.ModuleDict({"first": nn.Linear(4, 4), "last": nn.Linear(4, 1)})

    def forward(x: Tensor) -> Tensor:
        for layer in list(model.values())[:-1]:
            x = torch.tanh(layer(x))
        return model["last"](x)

    def step(number: int) -> Tensor:
        if number == 1:
            last = model.pop("last")
            model["middle"] = nn.Linear(4, 4)
            model["last"] = last
        if number == 3:
            del model["middle"]
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        x, y = batch()
        loss = functional.mse_loss(forward(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return Program(step, [model], steps=5)


@awkward()
def copied_and_pickled_model() -> Program:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    train = plain_step(model, optimizer)

    def step(number: int) -> list[Any]:
        loss = train(number)
        twin = copy.deepcopy(model)
        file = io.BytesIO()
        torch.save({"whole": twin, "optimizer": optimizer.state_dict()}, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)["whole"]
        loaded(torch.ones(1, 4)).sum().backward()
        return [loss, loaded[0].weight.grad]

    return Program(step, [model], [optimizer])


@awkward()
def model_moved_and_cast() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        dtype = torch.float64 if number % 2 else torch.float32
        model.to(dtype)
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x.to(dtype)), y.to(dtype))
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])
