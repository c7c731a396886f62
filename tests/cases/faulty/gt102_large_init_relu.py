"""Weights drawn from N(0, 1) in a twelve-layer ReLU network.

Source: He et al., "Delving deep into rectifiers" (2015); CS231n notes on initialisation; AutoTrainer, exploding gradient.
expect: {"code": "GT102", "line": false, "also": ["GT407", "GT107", "GT103"]}
"""
import torch
import torch.nn as nn

torch.manual_seed(0)


def weights_init(m):
    if isinstance(m, nn.Linear):
        m.weight.data.normal_(0.0, 1.0)
        m.bias.data.fill_(0)


layers = [nn.Linear(32, 64), nn.ReLU()]
for _ in range(10):
    layers += [nn.Linear(64, 64), nn.ReLU()]
layers += [nn.Linear(64, 1)]
model = nn.Sequential(*layers)
model.apply(weights_init)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(40):
    x = torch.randn(32, 32)
    y = x.mean(1, keepdim=True)
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, f"{loss.item():.3e}", f"{model[0].weight.grad.norm().item():.3e}")
