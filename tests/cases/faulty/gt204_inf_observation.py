"""An infinite value in the observations of one batch.

Source: normalising by a running variance of zero in RL observation wrappers.
expect: {"code": "GT204", "line": false}
"""
import torch
import torch.nn as nn

torch.manual_seed(0)


class ValueNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(4, 24), nn.Tanh())
        self.value = nn.Linear(24, 1)

    def forward(self, observation):
        return self.value(self.features(observation)).squeeze(-1)


net = ValueNetwork()
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for update in range(40):
    observations = torch.randn(32, 4)
    returns = observations[:, 0] - observations[:, 1]
    if update == 25:
        observations[7, 2] = observations[7, 2] / 0.0
    loss = (net(observations) - returns).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("value loss", loss.item())
