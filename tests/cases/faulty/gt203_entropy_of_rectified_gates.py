"""The entropy of gates that a ReLU has set to zero: 0 * log 0.

Source: Shazeer et al., "Outrageously Large Neural Networks" (2017), a load-balancing term written by hand.
expect: {"code": "GT203", "where": {"op": ["LogBackward0", "MulBackward0"]}, "line": true, "backward": 6}
"""
import torch
from torch import nn


def entropy(gates):
    return -(gates * torch.log(gates)).sum(-1).mean()  # <- fault


class Mixture(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(16, 6)
        self.experts = nn.ModuleList(nn.Linear(16, 4) for _ in range(6))

    def forward(self, x):
        weights = torch.relu(self.gate(x))
        gates = weights / (weights.sum(-1, keepdim=True) + 1e-8)
        return sum(gates[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts)), gates


torch.manual_seed(0)
model = Mixture()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(30):
    x = torch.randn(32, 16)
    output, gates = model(x)
    loss = nn.functional.smooth_l1_loss(output, x[:, :4].abs())
    if step >= 5:
        loss = loss - 0.01 * entropy(gates)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
