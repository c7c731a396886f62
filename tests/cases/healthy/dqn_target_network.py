"""DQN with a target network on a small chain world.

Source: Mnih et al., "Human-level control through deep reinforcement learning" (2015); PyTorch DQN tutorial.
"""
import copy
import random
from collections import deque

import torch
from torch import nn

random.seed(0)
torch.manual_seed(0)
N_STATES, GAMMA = 8, 0.9


def one_hot(i):
    v = torch.zeros(N_STATES)
    v[i] = 1.0
    return v


class QNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(N_STATES, 32)
        self.fc2 = nn.Linear(32, 2)

    def forward(self, s):
        return self.fc2(torch.relu(self.fc1(s)))


policy_net = QNetwork()
target_net = copy.deepcopy(policy_net)
target_net.eval()
optimizer = torch.optim.AdamW(policy_net.parameters(), lr=3e-3)
memory = deque(maxlen=500)

state = 0
for step in range(250):
    if random.random() < max(0.1, 1 - step / 150):
        action = random.randrange(2)
    else:
        with torch.no_grad():
            action = policy_net(one_hot(state)).argmax().item()
    following = max(0, min(N_STATES - 1, state + (1 if action else -1)))
    done = following == N_STATES - 1
    memory.append((one_hot(state), action, float(done), one_hot(following), done))
    state = 0 if done else following
    if len(memory) < 64:
        continue
    s, a, r, s2, d = zip(*random.sample(list(memory), 32))
    q = policy_net(torch.stack(s)).gather(1, torch.tensor(a).unsqueeze(1)).squeeze(1)
    with torch.no_grad():
        bootstrap = target_net(torch.stack(s2)).max(1).values * (1 - torch.tensor(d, dtype=torch.float32))
    loss = nn.functional.smooth_l1_loss(q, torch.tensor(r) + GAMMA * bootstrap)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(policy_net.parameters(), 100)
    optimizer.step()
    if step % 20 == 0:
        target_net.load_state_dict(policy_net.state_dict())
print("value of the first state", policy_net(one_hot(0)).max().item())
