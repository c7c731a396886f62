"""The head is trained alone first; the body joins with a parameter group of its own.

Source: Howard and Ruder, ULMFiT, ACL 2018 (gradual unfreezing).
"""
import torch
from torch import nn
import torch.nn.functional as F
torch.manual_seed(0)

body = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()); head = nn.Linear(64, 3)
body.requires_grad_(False)
opt = torch.optim.SGD(head.parameters(), 0.1, momentum=0.9)
for i in range(120):
    if i == 50:
        body.requires_grad_(True); opt.add_param_group({"params": body.parameters(), "lr": 0.01})
    x = torch.randn(32, 10)
    loss = F.cross_entropy(head(body(x)), x[:, :3].argmax(1))
    opt.zero_grad(); loss.backward(); opt.step()
print(loss.item())
