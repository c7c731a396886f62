"""Q-values gathered as a column against a row of targets; the error is clamped by hand.

Source: "DQN loss does not decrease", many duplicates: squeeze the gathered values.
expect: {"code": "GT704", "line": true}
"""
import copy
import random
from collections import deque, namedtuple

import torch
from torch import nn
import torch.nn.functional as F

Tr = namedtuple("Tr", "s a r s2 done")


class DQN:
    def __init__(self):
        self.q = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3))
        self.target = copy.deepcopy(self.q)
        self.buf = deque(maxlen=500)
        self.opt = torch.optim.Adam(self.q.parameters(), lr=1e-3)

    def learn(self):
        b = Tr(*zip(*random.sample(self.buf, 32)))
        s, s2 = torch.stack(b.s), torch.stack(b.s2)
        a = torch.tensor(b.a).unsqueeze(1)
        r, done = torch.tensor(b.r), torch.tensor(b.done)
        qsa = self.q(s).gather(1, a)
        with torch.no_grad():
            tgt = r + 0.99 * (1 - done) * self.target(s2).max(1).values
        loss = (qsa - tgt).abs().clamp(max=10).mean()  # <- fault
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()


random.seed(0)
torch.manual_seed(0)
agent = DQN()
s = torch.randn(4)
for t in range(100):
    a = random.randrange(3)
    s2 = 0.9 * s + 0.1 * torch.randn(4)
    agent.buf.append(Tr(s, a, float(s[a]), s2, float(t % 25 == 24)))
    s = s2
    if len(agent.buf) > 40:
        agent.learn()
    if t % 30 == 0:
        agent.target.load_state_dict(agent.q.state_dict())
