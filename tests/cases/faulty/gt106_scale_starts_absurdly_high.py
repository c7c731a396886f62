"""A start scale of 2 ** 70 overflows at every step of a short run: no op is to blame.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT106"}
"""
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 3))
opt = torch.optim.SGD(model.parameters(), lr=0.05)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**70)
for i in range(45):
    x = torch.randn(32, 12)
    y = (x[:, 0] > 0).long()
    with torch.autocast("cpu", dtype=torch.float16):
        loss = nn.functional.cross_entropy(model(x).float(), y)
    opt.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(opt)
    scaler.update()
