"""Spatial transformer network: grid_sample with a localisation head initialised to the identity.

Source: Jaderberg et al. (2015); PyTorch tutorial "Spatial Transformer Networks".
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class STN(nn.Module):
    def __init__(self):
        super().__init__()
        self.localization = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(True), nn.AdaptiveAvgPool2d(3))
        self.fc_loc = nn.Sequential(nn.Linear(36, 16), nn.ReLU(True), nn.Linear(16, 6))
        self.fc_loc[2].weight.data.zero_()
        self.fc_loc[2].bias.data.copy_(torch.tensor([1, 0, 0, 0, 1, 0], dtype=torch.float))
        self.classify = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, 2))

    def forward(self, x):
        theta = self.fc_loc(self.localization(x).flatten(1)).view(-1, 2, 3)
        grid = F.affine_grid(theta, x.size(), align_corners=False)
        return self.classify(F.grid_sample(x, grid, align_corners=False))


torch.manual_seed(0)
net = STN()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
for step in range(50):
    y = torch.randint(0, 2, (24,))
    x = 0.2 * torch.randn(24, 1, 10, 10)
    for i in range(24):
        a, b = torch.randint(0, 7, (2,)).tolist()
        if y[i]:
            x[i, 0, a : a + 3, b] += 2
        else:
            x[i, 0, a, b : b + 3] += 2
    loss = F.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, loss.item())
