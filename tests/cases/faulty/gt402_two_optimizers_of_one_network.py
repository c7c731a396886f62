"""Two optimizers, both built from the policy's parameters: the value network is in none, and never learns.

Source: a line copied and not changed, in actor-critic code with an optimizer for each network.
expect: {"code": "GT402", "where": {"parameter": ["value.0.weight"]}}
"""
import torch
from torch import nn
from torch.distributions import Normal


def main():
    torch.manual_seed(0)
    policy = nn.Sequential(nn.Linear(3, 24), nn.Tanh(), nn.Linear(24, 1))
    value = nn.Sequential(nn.Linear(3, 24), nn.Tanh(), nn.Linear(24, 1))
    policy_optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    value_optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    for _ in range(50):
        states = torch.randn(40, 3)
        actions = Normal(policy(states), 0.5)
        taken = actions.sample()
        rewards = -(taken - states[:, :1]).square()
        policy_optimizer.zero_grad()
        (-actions.log_prob(taken) * (rewards - value(states)).detach()).mean().backward()
        policy_optimizer.step()
        value_optimizer.zero_grad()
        nn.functional.mse_loss(value(states), rewards).backward()
        value_optimizer.step()


main()
