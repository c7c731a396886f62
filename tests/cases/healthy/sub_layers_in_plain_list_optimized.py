"""Layers in a plain list, but handed to the optimizer explicitly; and a parameter used only now and then.

Source: hand-written code bases; no fault.
"""
import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
layers = [nn.Linear(5, 20), nn.Linear(20, 20), nn.Linear(20, 1)]
offset = torch.zeros(1, requires_grad=True)
parameters = [p for layer in layers for p in layer.parameters()] + [offset]
optimizer = torch.optim.Adam(parameters, lr=5e-3)


def predict(x, calibrated):
    for layer in layers[:-1]:
        x = F.elu(layer(x))
    out = layers[-1](x)
    return out + offset if calibrated else out


for step in range(60):
    x = torch.randn(40, 5)
    y = x.norm(dim=1, keepdim=True)
    loss = F.huber_loss(predict(x, calibrated=step % 4 == 0), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(step, loss.item())
