"""Continuous-control actor that samples with `sample()`; the critic's gradient cannot pass.

Source: torch.distributions documentation, "Pathwise derivative" (https://docs.pytorch.org/docs/stable/distributions.html);
the same bug was reported for many SAC re-implementations.
expect: {"code": "GT301", "where": {"parameter": ["net.0.weight", "Actor.net.0.weight", "actor.net.0.weight"]}, "line": true}
"""
import torch
import torch.nn as nn
from torch.distributions import Normal


class Actor(nn.Module):
    def __init__(self, obs_dim, act_dim):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(obs_dim, 32), nn.ReLU(), nn.Linear(32, 2 * act_dim))

    def forward(self, obs):
        mean, log_std = self.net(obs).chunk(2, dim=-1)
        dist = Normal(mean, log_std.clamp(-5, 2).exp())
        action = dist.sample()  # <- fault
        return torch.tanh(action)


class Critic(nn.Module):
    def __init__(self, obs_dim, act_dim):
        super().__init__()
        self.q = nn.Sequential(nn.Linear(obs_dim + act_dim, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, obs, act):
        return self.q(torch.cat([obs, act], -1)).squeeze(-1)


torch.manual_seed(0)
actor, critic = Actor(3, 1), Critic(3, 1)
actor_opt = torch.optim.Adam(actor.parameters(), lr=3e-3)
critic_opt = torch.optim.Adam(critic.parameters(), lr=3e-3)

for step in range(40):
    obs = torch.randn(64, 3)
    with torch.no_grad():
        act = actor(obs)
    reward = -(act.squeeze(-1) - obs[:, 0].tanh()) ** 2
    critic_loss = nn.functional.mse_loss(critic(obs, act), reward)
    critic_opt.zero_grad()
    critic_loss.backward()
    critic_opt.step()

    actor_loss = -critic(obs, actor(obs)).mean()
    actor_opt.zero_grad()
    actor_loss.backward()
    actor_opt.step()
print("critic loss", critic_loss.item(), "mean reward", reward.mean().item())
