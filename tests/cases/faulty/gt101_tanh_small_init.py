"""Twelve tanh layers initialised with a standard deviation of 0.01.

Source: Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks" (2010); DeepLocalize.
expect: {"code": "GT101", "where": {"parameter": ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias", "layers.2.weight", "layers.2.bias"]}, "line": false}
"""
import torch
from torch import nn


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = [16] + [64] * 12
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:]))
        self.head = nn.Linear(64, 1)
        self.apply(self._init)

    @staticmethod
    def _init(module):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.head(x)


torch.manual_seed(0)
model = Deep()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for step in range(50):
    x = torch.randn(64, 16)
    y = x[:, :4].sum(1, keepdim=True).tanh()
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("loss", loss.item(), "first layer", model.layers[0].weight.grad.norm().item())
