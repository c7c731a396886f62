"""DDPG: actor through critic, two target networks with soft updates, gradients of the actor pass left in the critic.

Source: Lillicrap et al., "Continuous control with deep reinforcement learning" (2016).
"""
import copy

import torch
import torch.nn as nn

torch.manual_seed(0)


class Actor(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 1), nn.Tanh())

    def forward(self, s):
        return self.net(s)


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, s, a):
        return self.net(torch.cat([s, a], 1))


actor, critic = Actor(), Critic()
actor_target, critic_target = copy.deepcopy(actor), copy.deepcopy(critic)
actor_optimizer = torch.optim.Adam(actor.parameters(), lr=1e-3)
critic_optimizer = torch.optim.Adam(critic.parameters(), lr=3e-3)
for it in range(60):
    s = torch.randn(64, 3)
    a = (actor(s).detach() + 0.2 * torch.randn(64, 1)).clamp(-1, 1)
    r = 1 - (a - s[:, :1].tanh()).abs()
    s2 = s + 0.1 * torch.randn_like(s)
    target_q = r + 0.9 * critic_target(s2, actor_target(s2)).detach()
    critic_loss = nn.functional.mse_loss(critic(s, a), target_q)
    critic_optimizer.zero_grad()
    critic_loss.backward()
    critic_optimizer.step()
    actor_loss = -critic(s, actor(s)).mean()
    actor_optimizer.zero_grad()
    actor_loss.backward()
    actor_optimizer.step()
    for net, target in ((actor, actor_target), (critic, critic_target)):
        for p, q in zip(net.parameters(), target.parameters()):
            q.data.copy_(0.01 * p.data + 0.99 * q.data)
print("critic", critic_loss.item(), "actor", actor_loss.item())
