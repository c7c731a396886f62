"""backward() of the policy's loss got lost; the value's targets use the policy under no_grad, as they should.

Source: a program of our own, written without a look at the rules; actor-critic updates split over methods.
expect: {"code": "GT403", "where": {"optimizer": ["policy_optimizer"]}, "line": true}
"""
import torch
from torch import nn


class Learner:
    def __init__(self):
        self.policy = nn.Sequential(nn.Linear(3, 24), nn.ReLU(), nn.Linear(24, 1), nn.Tanh())
        self.value = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 1))
        self.policy_optimizer = torch.optim.Adam(self.policy.parameters(), lr=1e-3)
        self.value_optimizer = torch.optim.Adam(self.value.parameters(), lr=1e-3)

    def judge(self, state, action):
        return self.value(torch.cat([state, action], dim=1)).squeeze(1)

    def learn_value(self, state, action, reward, following):
        with torch.no_grad():
            target = reward + 0.8 * self.judge(following, self.policy(following))
        loss = nn.functional.mse_loss(self.judge(state, action), target)
        self.value_optimizer.zero_grad()
        loss.backward()
        self.value_optimizer.step()

    def learn_policy(self, state):
        loss = -self.judge(state, self.policy(state)).mean()
        self.policy_optimizer.zero_grad()
        self.policy_optimizer.step()  # <- fault
        return loss.item()


torch.manual_seed(82)
learner = Learner()
for step in range(60):
    state = torch.randn(32, 3)
    action = torch.rand(32, 1) * 2 - 1
    following = 0.9 * state + 0.1 * action
    reward = -(action.squeeze(1) - state[:, 0]).square()
    learner.learn_value(state, action, reward, following)
    value = learner.learn_policy(state)
    if step % 20 == 0:
        print(step, value)
