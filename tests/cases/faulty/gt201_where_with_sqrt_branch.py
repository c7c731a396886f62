"""torch.where hides the square root of a negative number; its gradient is NaN all the same.

Source: "torch.where produces nan in backward pass for differentiable forward pass" (https://github.com/pytorch/pytorch/issues/68425).
expect: {"code": ["GT201", "GT203"], "where": {"op": ["SqrtBackward0"]}, "line": true}
"""
import torch
import torch.nn as nn


class SignedRoot(nn.Module):
    def forward(self, x):
        root = torch.sqrt(x)  # <- fault
        return torch.where(x > 0, root, x)


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(5, 20), SignedRoot(), nn.Linear(20, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(12):
    x = torch.randn(32, 5)
    y = x.abs().sum(1, keepdim=True)
    loss = nn.functional.smooth_l1_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(step, loss.item())
