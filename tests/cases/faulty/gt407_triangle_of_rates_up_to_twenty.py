"""A triangular schedule whose peak was meant as a factor takes it as a learning rate.

The weights are thrown far away early and shrink again under weight decay; the rate is small by the end.

Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (2017), for the schedule.
expect: {"code": "GT407", "where": {"optimizer": ["optimizer"]}}
"""
import torch
from torch import nn

torch.manual_seed(76)
STEPS, PEAK = 160, 20.0
net = nn.Sequential(nn.Linear(5, 40), nn.LayerNorm(40), nn.GELU(), nn.Linear(40, 40), nn.GELU(), nn.Linear(40, 3))
optimizer = torch.optim.AdamW(net.parameters(), lr=1.0, weight_decay=0.05)
schedule = torch.optim.lr_scheduler.LambdaLR(
    optimizer, lambda step: PEAK * max(0.001, min((step + 4) / 40, (STEPS - step) / (STEPS - 36)))
)
for _ in range(STEPS):
    x = torch.randn(48, 5)
    y = (x[:, 0] * x[:, 1]).sign().long() + 1
    loss = nn.functional.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
