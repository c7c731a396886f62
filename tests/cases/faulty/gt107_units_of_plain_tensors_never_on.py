"""Hidden units of a network of plain tensors, updated by hand, whose biases start far below zero.

Source: Lu et al., "Dying ReLU and Initialization" (https://arxiv.org/abs/1903.06733): units that are born dead.
expect: {"code": "GT107", "where": {"parameter": ["W1"]}, "line": true}
"""
import torch

torch.manual_seed(0)
x = torch.rand(300, 8)
y = x.sum(1, keepdim=True).sin()
W1 = torch.randn(8, 48, requires_grad=True)
b1 = torch.full((48,), -9.0)
b1[:6] = 0.0
b1.requires_grad_()
W2 = (0.2 * torch.randn(48, 1)).requires_grad_()
b2 = torch.zeros(1, requires_grad=True)
for step in range(120):
    hidden = torch.relu(x @ W1 + b1)  # <- fault
    loss = (hidden @ W2 + b2 - y).pow(2).mean()
    loss.backward()
    with torch.no_grad():
        for tensor in (W1, b1, W2, b2):
            tensor -= 0.01 * tensor.grad
            tensor.grad.zero_()
    if step % 30 == 0:
        print(step, loss.item())
