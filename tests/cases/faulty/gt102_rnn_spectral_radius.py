"""A ReLU recurrent network whose recurrent matrix has a spectral radius of 1.6, over 60 steps.

Source: Pascanu et al., "On the difficulty of training recurrent neural networks" (2013).
expect: {"code": "GT102", "line": false, "also": ["GT103", "GT407"]}
"""
import torch
from torch import nn


class IRNN(nn.Module):
    def __init__(self, hidden=20):
        super().__init__()
        self.inp = nn.Linear(2, hidden)
        self.rec = nn.Linear(hidden, hidden, bias=False)
        self.out = nn.Linear(hidden, 1)
        with torch.no_grad():
            w = torch.rand(hidden, hidden)
            self.rec.weight.copy_(1.6 * w / torch.linalg.eigvals(w).abs().max())

    def forward(self, x):
        h = torch.zeros(x.size(0), self.rec.in_features)
        for t in range(x.size(1)):
            h = torch.relu(self.inp(x[:, t]) + self.rec(h))
        return self.out(h)


torch.manual_seed(0)
model = IRNN()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
for step in range(25):
    values = torch.rand(16, 60)
    marks = torch.zeros(16, 60)
    marks[torch.arange(16), torch.randint(0, 60, (16,))] = 1
    target = (values * marks).sum(1, keepdim=True)
    loss = nn.functional.mse_loss(model(torch.stack([values, marks], -1)), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(step, f"{loss.item():.3e}")
