"""Three losses on one graph, each with its own backward; retain_graph where it is needed.

Source: "What does the parameter retain_graph mean in the Variable's backward() method?" (https://stackoverflow.com/questions/46774641).
"""
import torch
from torch import nn

torch.manual_seed(0)
encoder = nn.Sequential(nn.Linear(9, 24), nn.ReLU())
heads = nn.ModuleList([nn.Linear(24, 1), nn.Linear(24, 3), nn.Linear(24, 9)])
optimizer = torch.optim.Adam([*encoder.parameters(), *heads.parameters()], lr=5e-3)
for step in range(50):
    x = torch.randn(32, 9)
    h = encoder(x)
    optimizer.zero_grad()
    regression = nn.functional.mse_loss(heads[0](h), x.sum(1, keepdim=True))
    regression.backward(retain_graph=True)
    classification = nn.functional.cross_entropy(heads[1](h), x[:, :3].argmax(1))
    classification.backward(retain_graph=True)
    reconstruction = nn.functional.mse_loss(heads[2](h), x)
    reconstruction.backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, regression.item(), classification.item(), reconstruction.item())
