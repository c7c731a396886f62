"""Four fifths of the units are dead, in a script that multiplies by its weights from the right.

Source: a program of our own, written without a look at the rules; the units are columns.
expect: {"code": "GT107", "where": {"parameter": ["w1"]}, "line": true}
"""
import torch
torch.manual_seed(0)
w1 = (torch.randn(12, 40) * 0.3).requires_grad_()
b1 = torch.full((40,), -0.1); b1[:32] = -25.0; b1.requires_grad_()
w2 = (torch.randn(40, 1) * 0.1).requires_grad_()
opt = torch.optim.SGD([w1, b1, w2], lr=1e-2)
for k in range(70):
    x = torch.randn(50, 12)
    loss = ((torch.relu(x @ w1 + b1) @ w2 - x[:, :1].abs()) ** 2).mean()  # <- fault
    opt.zero_grad(); loss.backward(); opt.step()
