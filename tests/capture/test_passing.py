"""Gradients that hooks of the program use up before their backward is over."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

import gradtrace


def train(hooked: bool, model: nn.Module, step) -> list[float]:
    if hooked:
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(step)
    losses = []
    for number in range(8):
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(number))
        loss = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
        loss.backward()
        losses.append(loss.item())
        if not hooked:
            for parameter in model.parameters():
                step(parameter)
    return losses


def descend(parameter: torch.Tensor) -> None:
    with torch.no_grad():
        parameter -= 0.05 * parameter.grad
    parameter.grad = None


def test_gradients_used_up_in_the_backward_are_measured():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    ordinary, untraced = copy.deepcopy(model), copy.deepcopy(model)
    expected = train(hooked=True, model=untraced, step=descend)
    with gradtrace.trace(model, on_finding="ignore") as hooked:
        assert train(hooked=True, model=model, step=descend) == expected
    with gradtrace.trace(ordinary, on_finding="ignore") as plain:
        assert train(hooked=False, model=ordinary, step=descend) == expected
    for statistic in ("norm", "max", "zeros"):
        np.testing.assert_array_equal(hooked.gradients(statistic), plain.gradients(statistic))
    assert hooked.gradients().missing.sum() == 0
    assert all(len(parameter._post_accumulate_grad_hooks) == 1 for parameter in model.parameters())


def test_an_optimizer_in_the_backward_is_healthy():
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizers = {parameter: torch.optim.SGD([parameter], lr=0.05) for parameter in model.parameters()}

    def step(parameter: torch.Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    with gradtrace.trace(on_finding="ignore") as trace:
        train(hooked=True, model=model, step=step)
    assert trace.findings == []
    assert (trace.gradients() > 0).all()
