"""One-step actor-critic with a shared body, entropy bonus and very noisy gradients.

Source: PyTorch example "actor_critic.py"; Sutton & Barto, chapter 13.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.distributions import Categorical


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine = nn.Linear(3, 64)
        self.action_head = nn.Linear(64, 2)
        self.value_head = nn.Linear(64, 1)

    def forward(self, x):
        x = F.relu(self.affine(x))
        return Categorical(logits=self.action_head(x)), self.value_head(x)


def finish_episode(log_probs, values, rewards, entropies, optimizer):
    R, returns = 0.0, []
    for r in reversed(rewards):
        R = r + 0.95 * R
        returns.insert(0, R)
    returns = torch.tensor(returns)
    if len(returns) > 1:
        returns = (returns - returns.mean()) / (returns.std() + 1e-6)
    policy_losses, value_losses = [], []
    for log_prob, value, R in zip(log_probs, values, returns):
        advantage = R - value.item()
        policy_losses.append(-log_prob * advantage)
        value_losses.append(F.smooth_l1_loss(value.squeeze(), R))
    optimizer.zero_grad()
    loss = torch.stack(policy_losses).sum() + torch.stack(value_losses).sum() - 0.01 * torch.stack(entropies).sum()
    loss.backward()
    optimizer.step()


torch.manual_seed(2)
model = Policy()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for episode in range(40):
    position, velocity = torch.randn(()), torch.zeros(())
    log_probs, values, rewards, entropies = [], [], [], []
    for t in range(int(torch.randint(3, 25, ()))):
        dist, value = model(torch.stack([position, velocity, torch.tensor(t / 25)]))
        action = dist.sample()
        velocity = velocity + 0.1 * (2 * action - 1)
        position = position + velocity
        log_probs.append(dist.log_prob(action))
        values.append(value)
        entropies.append(dist.entropy())
        rewards.append(-abs(position.item()))
    finish_episode(log_probs, values, rewards, entropies, optimizer)
    if episode % 10 == 0:
        print(episode, sum(rewards))
