"""REINFORCE whose log-probabilities are copied into a new tensor, told to want a gradient to silence the error.

Source: "element 0 of tensors does not require grad", a frequent question on the PyTorch forums; `torch.tensor` copies
values, `torch.stack` keeps their graph.
expect: {"code": "GT301", "where": {"parameter": ["0.weight"]}, "line": true}
"""
import torch
from torch import nn
from torch.distributions import Categorical


def play(policy, turns=20):
    log_probabilities, rewards = [], []
    for _ in range(turns):
        state = torch.randn(4)
        choice = Categorical(logits=policy(state))
        action = choice.sample()
        log_probabilities.append(choice.log_prob(action))
        rewards.append(float((state[0] > 0) == bool(action)))
    return log_probabilities, torch.tensor(rewards)


def main(episodes=30):
    torch.manual_seed(0)
    policy = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    for episode in range(episodes):
        log_probabilities, rewards = play(policy)
        log_probabilities = torch.tensor(log_probabilities, requires_grad=True)  # <- fault
        loss = -(log_probabilities * (rewards - rewards.mean())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(episode, rewards.sum().item())


main()
