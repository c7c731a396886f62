"""One of three parameter groups has a learning rate with too many zeros: that part stays as initialised.

Source: a program of our own, written without a look at the rules; discriminative learning rates copied from a table.
expect: {"code": "GT406", "where": {"parameter": ["mixer.0.weight"]}}
"""
import torch
from sklearn.datasets import load_wine
from torch import nn

torch.manual_seed(75)
wine = load_wine()
inputs = torch.tensor(wine.data, dtype=torch.float32)
inputs = (inputs - inputs.mean(0)) / inputs.std(0)
targets = torch.tensor(wine.target)

net = nn.ModuleDict(
    {
        "embed": nn.Linear(13, 32),
        "mixer": nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32)),
        "head": nn.Linear(32, 3),
    }
)
optimizer = torch.optim.AdamW(
    [
        {"params": net["embed"].parameters(), "lr": 3e-4},
        {"params": net["mixer"].parameters(), "lr": 3e-10},
        {"params": net["head"].parameters(), "lr": 3e-3},
    ],
    weight_decay=0.0,
)
for _ in range(25):
    for rows in torch.randperm(len(inputs)).split(30):
        hidden = net["mixer"](torch.relu(net["embed"](inputs[rows])))
        loss = nn.functional.cross_entropy(net["head"](hidden), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
