"""The actor's gradients are cleared twice and the critic's never.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT401", "where": {"optimizer": ["critic_opt"]}, "line": false}
"""
import torch
from torch import nn

torch.manual_seed(63)
actor = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
critic = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
actor_opt = torch.optim.Adam(actor.parameters(), lr=1e-3)
critic_opt = torch.optim.Adam(critic.parameters(), lr=1e-3)
for episode in range(20):
    obs = torch.randn(30, 4)
    ret = obs.sum(1)
    dist = torch.distributions.Categorical(logits=actor(obs))
    act = dist.sample()
    value = critic(obs).squeeze(1)
    adv = (ret - value).detach()
    actor_loss = -(dist.log_prob(act) * adv).mean()
    critic_loss = (ret - value).pow(2).mean()
    actor_opt.zero_grad()
    actor_loss.backward()
    actor_opt.step()
    actor_opt.zero_grad()
    critic_loss.backward()
    critic_opt.step()
