"""The graph is cut at the client's output, and the gradient handed over by hand.

Source: Distributed learning of deep neural network over multiple agents (https://arxiv.org/abs/1810.06060).
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
client = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
server = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
oc = torch.optim.SGD(client.parameters(), lr=0.1)
os_ = torch.optim.SGD(server.parameters(), lr=0.1)
for _ in range(60):
    x = torch.randn(32, 6)
    y = (x[:, 0] > 0).long()
    oc.zero_grad()
    os_.zero_grad()
    h = client(x)
    remote = h.detach().requires_grad_()
    loss = nn.functional.cross_entropy(server(remote), y)
    loss.backward()
    h.backward(remote.grad)
    os_.step()
    oc.step()
