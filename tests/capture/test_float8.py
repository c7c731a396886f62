"""Gradients in float8, for which torch has no norm."""

from __future__ import annotations

import torch

import gradtrace


class Scaled(torch.autograd.Function):
    """x @ w with a weight in float8, whose gradient is rounded to float8 as well."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight.float()

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        return gradient @ weight.float().T, (x.T @ gradient).to(weight.dtype)


def test_float8_is_left_out_with_a_word_and_is_no_fault():
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 4)
    model.register_parameter("low", torch.nn.Parameter(torch.randn(4, 4).to(torch.float8_e4m3fn)))
    optimizer = torch.optim.SGD([model.weight, model.bias], lr=0.01)
    with gradtrace.trace(model, on_finding="ignore") as trace:
        for _ in range(12):
            model.zero_grad()
            Scaled.apply(model(torch.randn(5, 4)), model.low).pow(2).mean().backward()
            optimizer.step()
    assert model.low.grad.dtype is torch.float8_e4m3fn
    assert trace.findings == []
    assert "gradients of 1 parameter in float8_e4m3fn are not measured" in str(trace)
    assert (trace.gradients("norm").missing.sum(axis=0) == [0, 0, 12]).all()
