"""Advantages are standardised episode by episode; the deviation of an episode of one step does not exist.

Source: Williams, "Simple Statistical Gradient-Following Algorithms" (1992), with the usual standardisation of returns.
expect: {"code": ["GT204", "GT203"], "line": true, "backward": 36}
"""
import torch
from torch import nn

torch.manual_seed(2)
policy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
for episode in range(45):
    steps = 1 if episode == 35 else int(torch.randint(5, 30, (1,)))
    state = torch.randn(steps, 4)
    log_probabilities = torch.log_softmax(policy(state), dim=1)
    with torch.no_grad():
        action = torch.rand(steps).gt(0.5).long()
    reward = (action == (state[:, 0] > 0).long()).float()
    advantage = (reward - reward.mean()) / (reward.std() + 1e-8)  # <- fault
    loss = -(log_probabilities.gather(1, action[:, None]).squeeze(1) * advantage).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
