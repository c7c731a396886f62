"""A triplet loss whose gradient is exactly zero in most batches once the classes are apart.

Source: Schroff et al., FaceNet, CVPR 2015 (most triplets are easy).
"""
import torch
from torch import nn
import torch.nn.functional as F
torch.manual_seed(0)

net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 4))
opt = torch.optim.SGD(net.parameters(), 0.05)
c = torch.randn(4, 6) * 4
for i in range(150):
    y = torch.randint(0, 4, (32,)); n = (y + torch.randint(1, 4, (32,))) % 4
    a, p, q = (c[k] + 0.3 * torch.randn(32, 6) for k in (y, y, n))
    loss = F.triplet_margin_loss(net(a), net(p), net(q), margin=0.5)
    opt.zero_grad(); loss.backward(); opt.step()
print(loss.item())
