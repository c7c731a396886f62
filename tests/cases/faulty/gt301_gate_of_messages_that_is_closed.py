"""Messages pass a hard gate that starts closed: the gate cannot learn, and the layers before and behind it get zeros.

Source: a program of our own, written without a look at the rules; thresholds on attention in message passing.
expect: {"code": "GT301", "where": {"parameter": ["passing.gate.weight"]}, "line": true}
"""
import torch
from torch import nn


class Passing(nn.Module):
    def __init__(self, size=10):
        super().__init__()
        self.message = nn.Linear(size, size)
        self.gate = nn.Linear(size, 1)
        self.update = nn.Linear(size, size, bias=False)
        nn.init.constant_(self.gate.bias, -4.0)

    def forward(self, nodes, senders, receivers):
        open_ = torch.sigmoid(self.gate(nodes)) >= 0.5  # <- fault
        sent = open_.to(nodes.dtype) * self.message(nodes)
        received = torch.zeros_like(nodes).index_add(0, receivers, sent[senders])
        return torch.tanh(nodes + self.update(received))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 10)
        self.passing = Passing()
        self.out = nn.Linear(10, 5)

    def forward(self, kinds, senders, receivers):
        return self.out(self.passing(self.embed(kinds), senders, receivers))


torch.manual_seed(81)
net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
for _ in range(40):
    kinds = torch.randint(0, 5, (60,))
    senders, receivers = torch.randint(0, 60, (2, 150))
    loss = nn.functional.cross_entropy(net(kinds, senders, receivers), kinds.roll(1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
