"""Ten sigmoid layers: the first ones get nothing.

Source: AutoTrainer (Zhang et al., ICSE 2021), vanishing gradient; https://ai.stackexchange.com/questions/16557
(four hidden sigmoid layers that do not learn).
expect: {"code": "GT101", "where": {"parameter": ["net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias", "net.4.weight", "net.4.bias"]}, "line": false}
"""
import torch
import torch.nn as nn


class DeepSigmoid(nn.Module):
    def __init__(self, depth=10, width=32):
        super().__init__()
        layers = [nn.Linear(20, width), nn.Sigmoid()]
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.Sigmoid()]
        layers.append(nn.Linear(width, 2))
        self.net = nn.Sequential(*layers)

    def forward(self, x):
        return self.net(x)


torch.manual_seed(0)
model = DeepSigmoid()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(60):
    x = torch.randn(64, 20)
    y = (x[:, :10].sum(1) > 0).long()
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(step, loss.item(), model.net[0].weight.grad.norm().item(), model.net[-1].weight.grad.norm().item())
