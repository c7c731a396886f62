"""Gradient descent written out, without an optimizer, and nothing clears the gradients.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT401", "line": false}
"""
import torch

torch.manual_seed(65)
w1 = (torch.randn(3, 10) / 3**0.5).requires_grad_()
b1 = torch.zeros(10, requires_grad=True)
w2 = (torch.randn(10, 1) / 10**0.5).requires_grad_()
x = torch.randn(60, 3)
y = x.pow(2).sum(1, keepdim=True)
for _ in range(25):
    pred = torch.tanh(x @ w1 + b1) @ w2
    loss = (pred - y).pow(2).mean()
    loss.backward()
    with torch.no_grad():
        for p in (w1, b1, w2):
            p -= 0.005 * p.grad
