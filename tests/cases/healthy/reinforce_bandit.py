"""REINFORCE with a running baseline kept as a Python number: noisy gradients.

Source: Williams (1992); PyTorch example "reinforce.py".
"""
import torch
import torch.nn as nn
from torch.distributions import Categorical


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(4, 32)
        self.affine2 = nn.Linear(32, 3)

    def forward(self, x):
        return torch.softmax(self.affine2(torch.relu(self.affine1(x))), dim=-1)


torch.manual_seed(1)
policy = Policy()
optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
baseline = 0.0
for episode in range(120):
    states = torch.randn(16, 4)
    distribution = Categorical(policy(states))
    actions = distribution.sample()
    rewards = (actions == states[:, :3].argmax(1)).float() + 0.3 * torch.randn(16)
    baseline = 0.95 * baseline + 0.05 * rewards.mean().item()
    loss = (-distribution.log_prob(actions) * (rewards - baseline)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if episode % 30 == 0:
        print(f"episode {episode} baseline {baseline:.3f}")
