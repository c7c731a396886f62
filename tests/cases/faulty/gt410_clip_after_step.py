"""Gradients are clipped after they were used.

Source: "How to do gradient clipping in pytorch?" (https://stackoverflow.com/questions/54716377).
expect: {"code": "GT410", "line": true}
"""
import torch
from torch import nn
from torch.nn.utils import clip_grad_value_

torch.manual_seed(0)
policy = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 4))
optimizer = torch.optim.RMSprop(policy.parameters(), lr=1e-3)


def update(states, actions, advantage):
    log_probability = torch.log_softmax(policy(states), dim=-1).gather(1, actions[:, None]).squeeze(1)
    loss = -(log_probability * advantage).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    clip_grad_value_(policy.parameters(), 0.5)  # <- fault
    return loss.item()


for i in range(50):
    states = torch.randn(64, 6)
    with torch.no_grad():
        actions = torch.distributions.Categorical(logits=policy(states)).sample()
    advantage = (actions == states[:, :4].argmax(1)).float() - 0.25
    value = update(states, actions, advantage)
print("last", value)
