"""DQN where gather leaves (N, 1) Q-values and the targets are (N,).

Source: DQN tutorial follow-ups on Stack Overflow: `state_action_values - expected_state_action_values` broadcasts.
expect: {"code": "GT704", "line": true}
"""
import torch
import torch.nn as nn


class Q(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, s):
        return self.net(s)


def td_error(q, target_q, batch, gamma=0.9):
    s, a, r, s2 = batch
    value = q(s).gather(1, a)
    with torch.no_grad():
        expected = r + gamma * target_q(s2).max(1).values
    return value - expected  # <- fault


torch.manual_seed(0)
q, target_q = Q(), Q()
target_q.load_state_dict(q.state_dict())
optimizer = torch.optim.Adam(q.parameters(), lr=1e-3)
for step in range(60):
    s = torch.randn(32, 4)
    a = torch.randint(0, 2, (32, 1))
    r = s[:, 0] * (2 * a[:, 0] - 1)
    s2 = s + 0.1 * torch.randn_like(s)
    loss = td_error(q, target_q, (s, a, r, s2)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        target_q.load_state_dict(q.state_dict())
        print(step, loss.item())
