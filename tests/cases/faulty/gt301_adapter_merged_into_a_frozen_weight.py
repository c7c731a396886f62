"""An adapter's product is merged into the frozen weight through .data before every call: the adapter learns nothing.

Source: a program of our own, written without a look at the rules; "LoRA from scratch" write-ups that merge for inference and train the same way.
expect: {"code": "GT301", "where": {"parameter": ["project.down", "project.up"]}, "line": true}
"""
import torch
from torch import nn


class Adapted(nn.Module):
    def __init__(self, inputs, outputs, rank=3):
        super().__init__()
        self.base = nn.Linear(inputs, outputs)
        self.base.weight.requires_grad = False
        self.down = nn.Parameter(torch.randn(rank, inputs) * 0.3)
        self.up = nn.Parameter(torch.randn(outputs, rank) * 0.1)
        self.register_buffer("original", self.base.weight.detach().clone())

    def forward(self, x):
        merged = torch.einsum("or,ri->oi", self.up, self.down)
        self.base.weight.data = self.original + merged  # <- fault
        return self.base(x)


class Ranker(nn.Module):
    def __init__(self):
        super().__init__()
        self.project = Adapted(9, 12)
        self.score = nn.Linear(12, 1)

    def forward(self, x):
        return self.score(nn.functional.silu(self.project(x))).squeeze(-1)


torch.manual_seed(71)
ranker = Ranker()
trained = [p for p in ranker.parameters() if p.requires_grad]
optimizer = torch.optim.RMSprop(trained, lr=2e-3)
for _ in range(40):
    better, worse = torch.randn(2, 32, 9)
    better[:, 0] += 1.0
    loss = nn.functional.softplus(ranker(worse) - ranker(better)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
