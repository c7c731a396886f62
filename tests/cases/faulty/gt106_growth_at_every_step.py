"""A scaler that grows after every good step overflows again at once: most steps are skipped.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT106"}
"""
import torch
from torch import nn

torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(20, 40)
        self.b = nn.Linear(40, 20)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


net = Net()
opt = torch.optim.Adam(net.parameters(), 1e-3)
scaler = torch.amp.GradScaler("cpu", growth_interval=1, growth_factor=16.0, backoff_factor=0.25)
for step in range(90):
    x = torch.randn(64, 20)
    with torch.autocast("cpu", dtype=torch.float16):
        out = net(x)
    loss = (out.float() - x).pow(2).mean()
    opt.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    scaler.step(opt)
    scaler.update()
