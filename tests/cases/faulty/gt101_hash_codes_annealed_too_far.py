"""Hash codes by a tanh whose slope is raised until not one unit has a derivative left; the encoder stands still.

Source: Cao et al., "HashNet: Deep Learning to Hash by Continuation" (2017), with a schedule that never ends.
expect: {"code": "GT101", "where": {"parameter": ["encoder.0.weight", "encoder.2.weight"]}, "line": true}
"""
import torch
from torch import nn


class Hashing(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(20, 48), nn.ReLU(), nn.Linear(48, 24))
        self.classifier = nn.Linear(24, 5)
        self.beta = 1.0

    def forward(self, x):
        codes = torch.tanh(self.beta * self.encoder(x))  # <- fault
        return self.classifier(codes)


torch.manual_seed(0)
centres = torch.randn(5, 20)
model = Hashing()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(500):
    model.beta = 1.025**step
    label = torch.randint(0, 5, (64,))
    x = centres[label] + 0.5 * torch.randn(64, 20)
    loss = nn.functional.cross_entropy(model(x), label)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
