"""A low-rank adapter whose two factors both start at zero.

Source: Hu et al., LoRA (2021): one factor must be random, else neither ever moves.
expect: {"code": "GT302", "where": {"parameter": ["adapter_a", "adapter_b"]}, "line": false}
"""
import torch
from torch import nn


class AdaptedLinear(nn.Module):
    def __init__(self, in_features, out_features, rank=4):
        super().__init__()
        self.base = nn.Linear(in_features, out_features)
        self.base.requires_grad_(False)
        self.adapter_a = nn.Parameter(torch.zeros(rank, in_features))
        self.adapter_b = nn.Parameter(torch.zeros(out_features, rank))

    def forward(self, x):
        return self.base(x) + x @ self.adapter_a.T @ self.adapter_b.T


def main(steps=50):
    torch.manual_seed(0)
    model = AdaptedLinear(12, 4)
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    target = torch.randn(12, 4)
    for step in range(steps):
        x = torch.randn(32, 12)
        loss = nn.functional.mse_loss(model(x), x @ target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(step, loss.item())


main()
