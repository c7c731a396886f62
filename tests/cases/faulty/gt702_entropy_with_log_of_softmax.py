"""Policy entropy and log-probability both use probs.log().

Source: actor-critic implementations; torch.distributions.Categorical(logits=...) avoids it.
expect: {"code": "GT702", "line": true}
"""
import torch
from torch import nn


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.base = nn.Linear(5, 32)
        self.pi = nn.Linear(32, 3)
        self.v = nn.Linear(32, 1)

    def forward(self, x):
        h = torch.relu(self.base(x))
        return torch.softmax(self.pi(h), dim=1), self.v(h)


torch.manual_seed(0)
net = ActorCritic()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
for update in range(50):
    obs = torch.randn(40, 5)
    probs, value = net(obs)
    action = probs.multinomial(1)
    reward = (action[:, 0] == obs[:, :3].argmax(1)).float()
    logp = probs.log()  # <- fault
    entropy = -(probs * logp).sum(1).mean()
    advantage = reward - value.squeeze(1)
    policy_loss = -(logp.gather(1, action).squeeze(1) * advantage.detach()).mean()
    loss = policy_loss + 0.5 * advantage.pow(2).mean() - 0.01 * entropy
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
print("reward", reward.mean().item())
