"""One optimizer per parameter, stepped from a post-accumulate hook inside backward.

Source: PyTorch tutorial "How to save memory by fusing the optimizer step into the backward pass".
"""
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
optimizers = {p: torch.optim.Adam([p], foreach=False, lr=3e-3) for p in model.parameters()}


def optimizer_hook(parameter):
    optimizers[parameter].step()
    optimizers[parameter].zero_grad()


for p in model.parameters():
    p.register_post_accumulate_grad_hook(optimizer_hook)

for step in range(40):
    x = torch.randn(32, 10)
    y = (x[:, :5].sum(1) > x[:, 5:].sum(1)).long()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    if step % 10 == 0:
        print(step, loss.item())
