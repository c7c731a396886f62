"""Advantage normalisation with std() over an episode of one step.

Source: normalised returns in REINFORCE examples; torch.std of one element is NaN by definition (Bessel's correction).
expect: {"code": "GT203", "where": {"op": ["StdBackward0"]}, "line": true}
"""
import torch
import torch.nn as nn
from torch.distributions import Categorical


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(4, 32)
        self.actor = nn.Linear(32, 2)
        self.critic = nn.Linear(32, 1)

    def forward(self, s):
        h = torch.tanh(self.shared(s))
        return Categorical(logits=self.actor(h)), self.critic(h).squeeze(-1)


torch.manual_seed(3)
net = ActorCritic()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
episode_lengths = [7, 5, 9, 12, 4, 8, 1, 6, 10, 3]
for episode, length in enumerate(episode_lengths):
    states = torch.randn(length, 4)
    dist, values = net(states)
    actions = dist.sample()
    returns = (actions == (states[:, 0] > 0).long()).float().flip(0).cumsum(0).flip(0)
    advantage = returns - values
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)  # <- fault
    loss = -(dist.log_prob(actions) * advantage.detach()).mean() + advantage.pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"episode {episode} length {length} loss {loss.item():.3f}")
