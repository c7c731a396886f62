"""A plain recurrence of tensors, read out after 30 steps and updated by hand: no module, no optimizer.

Source: Bengio, Simard and Frasconi, Learning long-term dependencies with gradient descent is difficult (1994).
expect: {"code": "GT101", "where": {"parameter": ["wh"]}, "line": true}
"""
import torch

torch.manual_seed(0)
wx = (torch.randn(3, 16) * 0.3).requires_grad_()
wh = (torch.eye(16) * 0.4).requires_grad_()
wo = (torch.randn(16, 1) * 0.3).requires_grad_()
for step in range(40):
    x = torch.randn(32, 30, 3)
    y = x[:, 0, :1]
    h = torch.zeros(32, 16)
    for t in range(30):
        h = torch.tanh(x[:, t] @ wx + h @ wh)  # <- fault
    loss = (h @ wo - y).square().mean()
    loss.backward()
    with torch.no_grad():
        for w in (wx, wh, wo):
            w -= 0.05 * w.grad
            w.grad = None
