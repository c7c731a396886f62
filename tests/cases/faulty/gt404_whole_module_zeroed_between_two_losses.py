"""zero_grad() on the whole module before the second loss throws away the first one's gradients.

Both optimizers step at the end.

Source: PyTorch forum questions on the difference of model.zero_grad() and optimizer.zero_grad().
expect: {"code": "GT404", "where": {"optimizer": ["density_optimizer"]}, "line": true}
"""
import torch
from torch import nn


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.density = nn.Sequential(nn.Linear(3, 20), nn.SiLU(), nn.Linear(20, 3))
        self.policy = nn.Sequential(nn.Linear(3, 20), nn.SiLU(), nn.Linear(20, 2))


torch.manual_seed(74)
agent = Agent()
density_optimizer = torch.optim.Adam(agent.density.parameters(), lr=1e-3)
policy_optimizer = torch.optim.Adam(agent.policy.parameters(), lr=1e-3)

for _ in range(40):
    state = torch.randn(32, 3)
    noisy = state + 0.1 * torch.randn_like(state)
    denoising = nn.functional.mse_loss(agent.density(noisy), state)
    denoising.backward()

    bonus = (agent.density(state).detach() - state).square().sum(1)
    choice = torch.distributions.Categorical(logits=agent.policy(state))
    action = choice.sample()
    reward = (action == (state[:, 0] > 0)).float() + bonus
    objective = -(choice.log_prob(action) * (reward - reward.mean())).mean()
    agent.zero_grad()  # <- fault
    objective.backward()
    density_optimizer.step()
    policy_optimizer.step()
