"""Top-1 mixture of experts; one expert is rarely or never chosen.

Source: Shazeer et al., "Outrageously Large Neural Networks" (2017).
"""
import torch
from torch import nn


class MoE(nn.Module):
    def __init__(self, dim, n_experts):
        super().__init__()
        self.router = nn.Linear(dim, n_experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim)) for _ in range(n_experts)
        )

    def forward(self, x):
        gate = self.router(x).softmax(-1)
        weight, choice = gate.max(-1)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            rows = (choice == i).nonzero(as_tuple=True)[0]
            if len(rows):
                out = out.index_add(0, rows, expert(x[rows]) * weight[rows, None])
        return x + out


torch.manual_seed(4)
model = nn.Sequential(nn.Linear(6, 16), MoE(16, 4), nn.LayerNorm(16), nn.Linear(16, 1))
with torch.no_grad():
    model[1].router.bias[3] = -1.5
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for step in range(80):
    x = torch.randn(64, 6)
    y = torch.sin(x[:, :1] * 2) + x[:, 1:2].abs()
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("loss", loss.item())
