"""Twelve sigmoid layers of plain tensors, updated by hand as in a first tutorial: no module, no optimizer.

Source: https://docs.pytorch.org/tutorials/beginner/pytorch_with_examples.html, with a dozen layers in place of one.
expect: {"code": "GT101", "where": {"op": "SigmoidBackward0"}, "line": true}
"""
import torch

torch.manual_seed(0)
weights = [(torch.randn(32, 32) / 32**0.5).requires_grad_() for _ in range(12)]
out = (torch.randn(32, 1) / 6).requires_grad_()
x = torch.randn(256, 32)
y = x[:, :1]
for step in range(40):
    h = x
    for weight in weights:
        h = torch.sigmoid(h @ weight)  # <- fault
    loss = ((h @ out - y) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        for tensor in [*weights, out]:
            tensor -= 0.1 * tensor.grad
            tensor.grad = None
    if step % 10 == 0:
        print(step, loss.item())
