"""atanh / log1p of a saturated tanh: squashed-Gaussian log-probability without the epsilon.

Source: Soft Actor-Critic implementations ("log(1 - tanh(x)^2)", appendix C of Haarnoja et al. 2018).
expect: {"code": "GT203", "where": {"op": ["LogBackward0"]}, "line": true}
"""
import torch
import torch.nn as nn
from torch.distributions import Normal


class SquashedGaussian(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 32), nn.ReLU())
        self.mu = nn.Linear(32, 1)
        self.log_std = nn.Linear(32, 1)

    def forward(self, obs):
        h = self.net(obs)
        dist = Normal(self.mu(h), self.log_std(h).clamp(-20, 2).exp())
        u = dist.rsample()
        a = torch.tanh(u)
        correction = torch.log(1 - a.pow(2))  # <- fault
        return a, (dist.log_prob(u) - correction).sum(-1)


def main():
    torch.manual_seed(0)
    actor = SquashedGaussian()
    optim = torch.optim.Adam(actor.parameters(), lr=3e-2)
    for step in range(80):
        obs = torch.randn(64, 3)
        action, logp = actor(obs)
        reward = 20 * action.squeeze(-1)
        loss = (0.1 * logp - reward).mean()
        optim.zero_grad()
        loss.backward()
        optim.step()
        if step % 10 == 0:
            print(step, loss.item())


main()
