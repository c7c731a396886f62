"""Gradient descent written out through .data, gradients and weights alike.

Source: a program of our own, written without a look at the rules.
"""
import torch

torch.manual_seed(302)
w = torch.randn(4, 1, requires_grad=True)
b = torch.zeros(1, requires_grad=True)
for i in range(40):
    x = torch.randn(16, 4)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5], [0.0]]) + 0.3
    loss = (x @ w + b - y).pow(2).mean()
    loss.backward()
    w.data -= 0.02 * w.grad.data
    b.data -= 0.02 * b.grad.data
    w.grad.data.zero_()
    b.grad.data.zero_()
